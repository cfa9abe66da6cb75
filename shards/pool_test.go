package shards

import (
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

// TestWarm: the first full tables, and with arenas the records in them, lie in memory
// that Warm made resident.
func TestWarm(t *testing.T) {
	for _, arenas := range []bool{false, true} {
		h := newBed(t, Config{Shards: 1, MaxKeys: 20_000, MaxSealed: 7})
		if err := h.set.Warm(0, TableSets, map[bool]int{true: 20}[arenas]); err != nil {
			t.Fatal(err)
		}
		for i := range TableSets {
			if n := h.set.pool.Ready(); n != TableSets-i {
				t.Fatalf("arenas %v: %d tables are ready, want %d", arenas, n, TableSets-i)
			}
			kept := h.set.pool.Bytes()
			h.admit(fmt.Appendf(nil, "record %d", i))
			table := h.set.shards[0].active.tables[hash.Bytes]
			if table.Cap() != h.set.fullKeys() || !table.HasRecords() {
				t.Errorf("arenas %v: table %d is for %d keys, want %d", arenas, i, table.Cap(), h.set.fullKeys())
			}
			// An arena that was not made ready is new memory: the pool gives the table's only.
			if took := kept - h.set.pool.Bytes(); (took == int64(table.Bytes())) != arenas {
				t.Errorf("arenas %v: table %d took %d bytes out of the pool, it has %d", arenas, i, took, table.Bytes())
			}
			h.set.Seal(^uint64(0))
		}
	}
}

// TestBridgeTable: while a shard's full tables wait for their flush small ones take
// their place, each sealed rather than grown into a new full one, until a full one
// is back; no key is lost on the way.
func TestBridgeTable(t *testing.T) {
	h := newBed(t, Config{Shards: 1, MaxKeys: 20_000, MaxSealed: 7})
	if err := h.set.Warm(0, TableSets, 0); err != nil {
		t.Fatal(err)
	}
	full := h.set.fullKeys()
	sh := &h.set.shards[0]
	size := func() int { return sh.active.tables[hash.Raw16].Cap() }
	next := 0
	admit := func(n int) {
		t.Helper()
		for range n {
			if got := h.admit(key16(next)); got[0] != dedup.Fresh {
				t.Fatalf("key %d: %v", next, got[0])
			}
			next++
		}
	}
	for range TableSets { // those that Warm made
		admit(1000)
		if size() != full {
			t.Fatalf("a table for %d keys, those for %d were made beforehand", size(), full)
		}
		h.set.Seal(^uint64(0))
	}
	bridges := 0
	for last := len(sh.sealed); bridges < 3; last = len(sh.sealed) {
		admit(100)
		if size() >= full {
			t.Fatalf("key %d: a new full table, though some wait for their flush", next)
		}
		bridges += len(sh.sealed) - last
	}
	for len(sh.sealed) < 7 { // as many as may wait: now the next one grows
		admit(100)
	}
	for size() < full {
		admit(100)
	}
	h.set.Seal(^uint64(0))
	for range TableSets {
		h.flushOne() // those that Warm made
	}
	admit(1)
	if size() == full {
		t.Error("a table that was not cleared is in use")
	}
	for h.set.Clear() {
	}
	for at := next; size() < full; admit(100) {
		if next-at > 20_000 {
			t.Fatal("a cleared table is not used")
		}
	}
	for i := range next {
		if got := h.look(key16(i)); got[0] != dedup.Duplicate {
			t.Fatalf("key %d is lost: %v", i, got[0])
		}
	}
}

// TestRecycledTable: a table in memory that was another one's knows nothing of its keys.
func TestRecycledTable(t *testing.T) {
	const keys = 19_000
	h := newBed(t, Config{Shards: 1, MaxKeys: 20_000, MaxSealed: 7})
	if err := h.set.Warm(0, TableSets, 0); err != nil {
		t.Fatal(err)
	}
	used := map[unsafe.Pointer]int{}
	for round := range 2 * TableSets {
		batch := make([][]byte, keys)
		for i := range batch {
			batch[i] = key16(round*keys + i)
		}
		for part := range slices.Chunk(batch, MaxPiece) {
			for i, v := range h.admit(part...) {
				if v != dedup.Fresh {
					t.Fatalf("round %d, key %x: %v", round, part[i], v)
				}
			}
		}
		first, _ := h.set.shards[0].active.tables[hash.Raw16].Rows()
		used[first]++
		h.flushAll() // compares how many keys come out
		for h.set.Clear() {
		}
		h.rotate()
	}
	if len(used) == 2*TableSets {
		t.Error("no memory was used again")
	}
}

// TestForgottenKeysFill: keys that were forgotten take room until the table grows or is
// sealed, so one is sealed although it holds few keys.
func TestForgottenKeysFill(t *testing.T) {
	const most = 3000
	h := newBed(t, Config{Shards: 1, MaxKeys: most, MaxSealed: 7})
	h.admit(key16(0))
	last := 0
	for h.set.Sealed() == 0 && last < 3*most {
		last++
		if got := h.admit(key16(last)); got[0] != dedup.Fresh {
			t.Fatalf("key %d: %v", last, got[0])
		}
		h.forget(key16(last - 1))
	}
	if last <= most || last == 3*most {
		t.Errorf("sealed after %d keys, there is room for %d", last, most)
	}
	for i := range last + 1 {
		want := dedup.Fresh
		if i == last {
			want = dedup.Duplicate
		}
		if got := h.look(key16(i)); got[0] != want {
			t.Fatalf("key %d: %v, want %v", i, got[0], want)
		}
	}
}

// TestSmallerTables: where SetMaxKeys makes tables smaller while one grows that has more
// keys already, it is sealed, and no key is lost.
func TestSmallerTables(t *testing.T) {
	for _, keys := range []int{MaxPiece, 2500, 3000} { // about as many as the new size has room for, and more
		h := newBed(t, Config{Shards: 1, MaxKeys: 100_000, MaxSealed: 7})
		for i := range keys {
			h.admit(key16(i))
		}
		sh := &h.set.shards[0]
		var b Batch
		sh.mu.Lock()
		_ = h.set.SetMaxKeys(500, 0)
		got, err := sh.tableFor(&b, hash.Raw16, MaxPiece)
		sh.mu.Unlock()
		if err != nil || !got.Room(MaxPiece) || got.Cap() > 500+MaxPiece {
			t.Fatalf("after %d keys: %v, a table for %d keys with %d", keys, err, got.Cap(), got.Used())
		}
		for i := range keys {
			if v := h.look(key16(i)); v[0] != dedup.Duplicate {
				t.Fatalf("key %d of %d: %v", i, keys, v[0])
			}
		}
	}
}
