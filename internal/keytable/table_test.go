package keytable

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/internal/mem"
)

const tableShardBits = 4

func testRegion(t testing.TB, bytes int) *mem.Region {
	t.Helper()
	r, err := mem.Alloc(bytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Free)
	return r
}

// tableKey is a key as a table sees it.
type tableKey struct {
	hi, lo uint64
	record string
}

func (k tableKey) order() uint64 { return k.hi << tableShardBits }

func (k tableKey) bytes(variable bool) []byte {
	if !variable {
		return nil
	}
	return []byte(k.record)
}

// tableTwin holds a table against a map.
type tableTwin struct {
	t        *testing.T
	table    *Table
	variable bool
	want     map[tableKey]bool
}

func newTableTwin(t *testing.T, keys int, variable bool) *tableTwin {
	table := newTable(testRegion(t, tableBytes(keys)), keys)
	if variable {
		table.arena = newArena(testRegion(t, arenaBytes(4096+MaxInsert)))
	}
	return &tableTwin{t, table, variable, map[tableKey]bool{}}
}

func (w *tableTwin) insert(k tableKey) Outcome {
	w.t.Helper()
	got := w.table.Insert(k.order(), k.hi, k.lo, k.bytes(w.variable))
	want := Inserted
	if w.want[k] {
		want = Present
	}
	if got == Full {
		if w.want[k] {
			w.t.Fatalf("%+v is there, the table says full", k)
		}
		return got
	}
	if got != want {
		w.t.Fatalf("inserting %+v: %d, want %d", k, got, want)
	}
	w.want[k] = true
	return got
}

// addNew adds keys that are not there, without a look at want.
func (w *tableTwin) addNew(keys []tableKey) (left []int32) {
	pairs := w.table.Unused(len(keys))
	orders := make([]uint64, len(keys))
	for i, k := range keys {
		pairs[i], orders[i] = Pair{Hi: k.hi, Lo: k.lo}, k.order()
		if w.variable {
			pairs[i].Lo = w.table.arena.add([]byte(k.record))
		}
	}
	return w.table.InsertNew(orders, make([]int32, 0, len(keys)))
}

// insertNew adds those of keys that are not there as a batch does.
func (w *tableTwin) insertNew(keys []tableKey) {
	w.t.Helper()
	var added []tableKey
	for _, k := range keys {
		if !w.want[k] {
			w.want[k] = true
			added = append(added, k)
		}
	}
	for _, i := range w.addNew(added) {
		delete(w.want, added[i])
	}
	for _, k := range added {
		w.has(k)
	}
}

func (w *tableTwin) delete(k tableKey) {
	w.t.Helper()
	got := w.table.Delete(k.order(), k.hi, k.lo, k.bytes(w.variable))
	if got != w.want[k] {
		w.t.Fatalf("deleting %+v: %v, want %v", k, got, w.want[k])
	}
	delete(w.want, k)
}

func (w *tableTwin) has(k tableKey) {
	w.t.Helper()
	if got := w.table.Has(k.order(), k.hi, k.lo, k.bytes(w.variable)); got != w.want[k] {
		w.t.Fatalf("has %+v: %v, want %v", k, got, w.want[k])
	}
	candidate := w.table.Candidates(make([]uint32, 0, 1), []uint64{k.order()}, []int32{0})[0]
	if got := w.table.Holds(candidate, k.order(), k.hi, k.lo, k.bytes(w.variable)); got != w.want[k] {
		w.t.Fatalf("holds %+v, candidate %#x: %v, want %v", k, candidate, got, w.want[k])
	}
}

// check compares everything: the count and the sorted output.
func (w *tableTwin) check() {
	w.t.Helper()
	if w.table.Len() != len(w.want) {
		w.t.Fatalf("%d keys, want %d", w.table.Len(), len(w.want))
	}
	want := make([]tableKey, 0, len(w.want))
	for k := range w.want {
		w.has(k)
		want = append(want, k)
	}
	slices.SortFunc(want, func(a, b tableKey) int {
		switch {
		case a.hi != b.hi && a.hi < b.hi, a.hi == b.hi && a.lo < b.lo:
			return -1
		case a.hi == b.hi && a.lo == b.lo:
			return strings.Compare(a.record, b.record)
		}
		return 1
	})
	got := w.table.Sorted(nil, func() {})
	if len(got) != len(want) {
		w.t.Fatalf("sorted gives %d keys, want %d", len(got), len(want))
	}
	for i, p := range got {
		k := tableKey{hi: p.Hi, lo: p.Lo}
		if w.variable {
			k.lo, k.record = 0, string(w.table.arena.record(p.Lo))
		}
		if k != want[i] {
			w.t.Fatalf("sorted, place %d: %+v, want %+v", i, k, want[i])
		}
	}
}

// moved moves everything to a table of another size.
func (w *tableTwin) moved(keys int) {
	w.t.Helper()
	to := newTable(testRegion(w.t, tableBytes(keys)), keys)
	if !w.table.MoveTo(to, tableShardBits) {
		w.t.Fatal("moveTo says that there is no room")
	}
	w.table = to
	w.check()
}

// TestTableTwin: random operations on random and on colliding keys. All hashes
// have the bits of one shard, as they have in use.
func TestTableTwin(t *testing.T) {
	for _, variable := range []bool{false, true} {
		for seed := range uint64(20) {
			t.Run(fmt.Sprintf("variable=%v/seed=%d", variable, seed), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				shard := uint64(0)
				if seed%2 == 1 {
					shard = rng.Uint64() << (64 - tableShardBits)
				}
				pool := twinKeys(rng, shard, variable)
				w := newTableTwin(t, 4096, variable) // holes of deleted keys included
				if seed%3 == 2 {
					w.table.places = 1<<30 - 1 // tags of two bits, as in a huge table
				}
				for range 3000 {
					k := pool[rng.IntN(len(pool))]
					switch op := rng.IntN(10); {
					case op < 2 && len(w.want) < 500:
						at := rng.IntN(len(pool) - 10)
						w.insertNew(pool[at:][:rng.IntN(10)])
					case op < 5 && len(w.want) < 500:
						w.insert(k)
					case op < 8:
						w.delete(k)
					default:
						w.has(k)
					}
				}
				w.check()
				w.moved(2048)
				w.moved(600)
			})
		}
	}
}

// twinKeys are a few hundred keys: spread ones, clusters at both ends and in the
// middle of the table, equal hashes, and the pair that looks like no key.
func twinKeys(rng *rand.Rand, shard uint64, variable bool) (keys []tableKey) {
	const within = 1<<(64-tableShardBits) - 1
	add := func(hi, lo uint64) {
		k := tableKey{hi: shard | hi&within, lo: lo}
		if variable {
			k.lo, k.record = 0, fmt.Sprintf("%x", lo)
		}
		keys = append(keys, k)
	}
	add(0, 0)
	add(0, 1)
	add(within, 0)
	add(within, ^uint64(0))
	for range 300 {
		add(rng.Uint64(), rng.Uint64())
	}
	middle := rng.Uint64()
	for i := range uint64(60) {
		add(i, i)            // before all others
		add(within-i, i)     // behind the last home row
		add(middle+i, i)     // one home row
		add(middle, 1000+i)  // one hash
		add(middle+i<<50, i) // neighbouring home rows
	}
	return keys
}

// TestTableInsertNew: different keys are all added at once, whatever their rows hold
// already. Of keys made to collide those for which there is no place are told.
func TestTableInsertNew(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	w := newTableTwin(t, 512, false)
	var keys []tableKey
	for range 512 {
		keys = append(keys, tableKey{hi: rng.Uint64() >> tableShardBits, lo: rng.Uint64()})
		w.want[keys[len(keys)-1]] = true
	}
	for at := 0; at < 512; at += 64 {
		if left := w.addNew(keys[at : at+64]); len(left) > 0 {
			t.Fatalf("%d of 64 keys found no place", len(left))
		}
	}
	w.check()

	w = newTableTwin(t, 2*maxKeysOfHash, false)
	var left []int32
	for n := uint64(1); len(left) == 0; n += 100 {
		if n > maxKeysOfHash+100 {
			t.Fatal("the table takes more keys of one hash than a look-up walks")
		}
		keys = keys[:0]
		for lo := n; lo < n+100; lo++ {
			keys = append(keys, tableKey{hi: 7 << 36, lo: lo})
		}
		keys = append(keys, tableKey{hi: rng.Uint64() >> tableShardBits, lo: n}) // among them one that has room
		for _, k := range keys {
			w.want[k] = true
		}
		left = w.addNew(keys)
	}
	for _, i := range left {
		delete(w.want, keys[i])
	}
	if len(w.want) < maxKeysOfHash || len(left) == 100 {
		t.Errorf("%d keys found a place, %d of the last ones did not", len(w.want), len(left))
	}
	w.check()
}

// maxKeysOfHash is how many keys of one hash a look-up walks.
const maxKeysOfHash = maxProbe * rowKeys

// TestTableFull: keys of one hash fill the rows that a look-up walks, one more
// is refused, and all that were taken are still found and come out sorted.
func TestTableFull(t *testing.T) {
	spread := func(lo uint64) uint64 { return lo * 0x9e3779b97f4a7c15 }
	for _, hi := range []uint64{0, 1<<60 - 1, 0x0123456789abcdef} {
		w := newTableTwin(t, maxKeysOfHash+2, false)
		for lo := uint64(1); lo <= maxKeysOfHash; lo++ {
			if got := w.insert(tableKey{hi: hi, lo: spread(lo)}); got != Inserted {
				t.Fatalf("hash %x, key %d: %d", hi, lo, got)
			}
		}
		if got := w.insert(tableKey{hi: hi, lo: 12345}); got != Full {
			t.Fatalf("hash %x: key %d has Outcome %d", hi, maxKeysOfHash+1, got)
		}
		w.check()
		// A larger table has as much room for them and no more.
		to := newTable(testRegion(t, tableBytes(2*maxKeysOfHash)), 2*maxKeysOfHash)
		if !w.table.MoveTo(to, tableShardBits) {
			t.Fatalf("hash %x: as many keys as a look-up walks don't move", hi)
		}
		w.delete(tableKey{hi: hi, lo: spread(7)})
		if got := w.insert(tableKey{hi: hi, lo: 12345}); got != Inserted {
			t.Fatalf("hash %x: no room after a deletion: %d", hi, got)
		}
		w.check()
	}
}

// TestTableMoveNoRoom: keys of more than one row can be too many for a
// table of another size; then nothing is lost in the old one.
func TestTableMoveNoRoom(t *testing.T) {
	w := newTableTwin(t, 1<<16, false)
	rng := rand.New(rand.NewPCG(1, 1))
	for range maxKeysOfHash + 100 { // spread over some rows here, over one there
		w.insert(tableKey{hi: rng.Uint64N(1 << 52), lo: rng.Uint64()})
	}
	to := newTable(testRegion(t, tableBytes(2500)), 2500)
	if w.table.MoveTo(to, tableShardBits) {
		t.Fatal("more keys than a look-up walks were moved to one place")
	}
	w.check()
}

// TestTableHoles: the room of a key that was deleted right after it came, and of all
// once none is left, is used again.
func TestTableHoles(t *testing.T) {
	const keys = 32
	w := newTableTwin(t, keys, false)
	first := tableKey{hi: 1, lo: 1}
	w.insert(first)
	for n := range uint64(10 * keys) {
		w.insert(tableKey{hi: n << 50, lo: n})
		w.delete(tableKey{hi: n << 50, lo: n})
	}
	w.delete(first)
	for round := range uint64(10) {
		for n := range uint64(keys) {
			w.insert(tableKey{hi: n << 50, lo: round})
		}
		if w.table.Room(1) {
			t.Fatal("there is room for more keys than the table was made for")
		}
		w.check()
		for n := range uint64(keys) {
			w.delete(tableKey{hi: n << 50, lo: round})
		}
	}
	w.check()
}

func TestTableZeroPair(t *testing.T) {
	w := newTableTwin(t, 1024, false)
	zero := tableKey{}
	w.has(zero)
	w.delete(zero)
	w.insert(zero)
	w.insert(zero)
	w.insert(tableKey{lo: 1})
	w.check()
	w.moved(2048)
	w.delete(zero)
	w.check()
}

// TestTableHomes: a key's home is row order × rows / 2^64, and the tags within a row
// rise with the hashes, so a scan is in their order but for keys that found their row full.
func TestTableHomes(t *testing.T) {
	w := newTableTwin(t, 1000, false)
	rng := rand.New(rand.NewPCG(3, 1))
	for range 500 {
		k := tableKey{hi: rng.Uint64() >> tableShardBits, lo: 1 + rng.Uint64N(100)}
		w.insert(k)
		row, rest := bits.Mul64(k.order(), 1000/fillKeys)
		at := w.table.find(k.order(), k.hi, k.lo, nil)
		if at < int(row)*rowSlots || at >= int(row+3)*rowSlots {
			t.Fatalf("home row %d, found at %d", row, at)
		}
		if tag, want := w.table.index[at]&^w.table.places, uint32(rest>>32)&^1023; tag != want {
			t.Fatalf("tag %#x, want %#x", tag, want)
		}
	}
}
