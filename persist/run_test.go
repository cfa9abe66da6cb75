package persist

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// key is one key of a test, with what the caller of the package would know of it.
type testKey struct {
	order, lo uint64
	bytes     []byte
}

func (k testKey) query() Query { return Query{Order: k.order, Lo: k.lo, Record: k.bytes} }

const (
	testShardBits = 4
	maxOrder      = math.MaxUint64 &^ (1<<testShardBits - 1)
)

// makeKeys gives n different keys of a form, in order, in a shard of sixteen.
// Other seeds give other keys.
func makeKeys(form uint8, n int, seed uint64) []testKey {
	rng := rand.New(rand.NewPCG(seed, uint64(form)))
	keys := make([]testKey, n)
	for i := range keys {
		keys[i] = testKey{order: rng.Uint64() << testShardBits, lo: rng.Uint64()}
		if !fixedForm(form) {
			keys[i].bytes = makeBytes(rng, seed, i)
			keys[i].lo = 0
			keys[i].order = bytesOrder(keys[i].bytes)
		}
	}
	sortKeys(keys)
	return keys
}

// makeBytes gives a key of 8 to 255 bytes, mostly of about 36, with i in it.
func makeBytes(rng *rand.Rand, seed uint64, i int) []byte {
	n := 36
	if rng.IntN(10) == 0 {
		n = 17 + rng.IntN(maxRecord-16)
	}
	b := make([]byte, n)
	for j := range b {
		b[j] = byte(rng.Uint32())
	}
	binary.BigEndian.PutUint64(b, uint64(i))
	binary.BigEndian.PutUint64(b[8:], seed)
	return b
}

func bytesOrder(key []byte) uint64 { return hashBytes(key) * mix2 << testShardBits }

func sortKeys(keys []testKey) {
	slices.SortFunc(keys, func(a, b testKey) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.lo, b.lo), bytes.Compare(a.bytes, b.bytes))
	})
}

func addAll(w *RunWriter, keys []testKey) {
	for _, k := range keys {
		if k.bytes != nil {
			w.AddBytes(k.order, k.bytes)
		} else {
			w.Add(k.order, k.lo)
		}
	}
}

func newTestSegment(t testing.TB) *Segment {
	t.Helper()
	return newSegmentOf(t, 16<<20)
}

func newSegmentOf(t testing.TB, maxBytes int64) *Segment {
	t.Helper()
	s, err := CreateSegment(SegmentConfig{Dir: t.TempDir(), ID: 1, MaxBytes: maxBytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func writeRun(t testing.TB, s *Segment, spec RunSpec, keys []testKey) *Run {
	t.Helper()
	spec.MaxKeys = uint64(len(keys))
	w := s.NewRun(spec)
	addAll(w, keys)
	r, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// confirm asks one run for all of qs.
func (r *Run) confirm(l *Lookup, qs []Query) error {
	for i := range qs {
		qs[i].Run = r
	}
	return l.Confirm(qs)
}

// checkRun fails unless r holds exactly keys and none of absent.
func checkRun(t *testing.T, r *Run, keys, absent []testKey) {
	t.Helper()
	checkScan(t, r, keys)
	var l Lookup
	var qs []Query
	for i, k := range keys {
		q := k.query()
		q.Index = int32(i)
		qs = append(qs, q)
	}
	for _, k := range absent {
		q := k.query()
		q.Index = -1
		qs = append(qs, q)
	}
	if err := r.confirm(&l, qs); err != nil {
		t.Fatal(err)
	}
	for _, q := range qs {
		if q.Found != (q.Index >= 0) {
			t.Fatalf("key %d of order %#x: found %v", q.Index, q.Order, q.Found)
		}
	}
	if err := r.Verify(); err != nil {
		t.Fatal(err)
	}
}

func checkScan(t *testing.T, r *Run, keys []testKey) {
	t.Helper()
	i := 0
	err := r.Scan(func(b *Block) error {
		for j := range b.Len() {
			if i == len(keys) {
				return errors.New("more keys than were written")
			}
			k := keys[i]
			i++
			if k.bytes != nil {
				if !bytes.Equal(b.Key(j), k.bytes) {
					return fmt.Errorf("key %d is %x, want %x", i-1, b.Key(j), k.bytes)
				}
			} else if order, lo := b.Pair(j); order != k.order || lo != k.lo {
				return fmt.Errorf("key %d is %x %x, want %x %x", i-1, order, lo, k.order, k.lo)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if i != len(keys) {
		t.Fatalf("%d keys scanned, %d written", i, len(keys))
	}
}

func TestRunRoundTrip(t *testing.T) {
	dir := t.TempDir()
	c := SegmentConfig{Dir: dir, ID: 7, MaxBytes: 64 << 20}
	s, err := CreateSegment(c)
	if err != nil {
		t.Fatal(err)
	}
	meta := SegmentMeta{ID: 7}
	var sets [][]testKey
	add := func(form uint8, keys []testKey) {
		id := uint64(len(sets) + 1)
		r := writeRun(t, s, RunSpec{ID: id, Shard: 5, Form: form, Tombstones: form == 2, Zeros: uint8(id) % (testShardBits + 1), Seq: 100 + id, MaxPos: 1000 * id}, keys)
		checkRun(t, r, keys, makeKeys(form, 500, 999))
		m := r.Meta()
		if m.Keys != uint64(len(keys)) || m.ID != id || m.Shard != 5 || m.Form != form || m.Tombstones != (form == 2) || m.Seq != 100+id || m.MaxPos != 1000*id {
			t.Fatalf("meta %+v", m)
		}
		meta.Runs = append(meta.Runs, m)
		sets = append(sets, keys)
	}
	for _, n := range []int{0, 1, 15, 16, 17, 10_000, 300_000} {
		add(0, makeKeys(0, n, uint64(n)))
		add(3, makeKeys(3, n, uint64(n)))
	}
	add(2, clustered(0))
	add(2, clustered(maxOrder))
	add(0, clusteredEnds())
	add(4, clusteredBytes())
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// All of it again from disk, twice (the second opening follows one that wrote nothing).
	for range 2 {
		s, runs, err := OpenSegment(c, meta)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range runs {
			checkRun(t, r, sets[i], makeKeys(r.Meta().Form, 500, 999))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLayout: a record tells its order whatever the number of blocks, at both
// ends of each block, in as few bytes as that takes.
func TestLayout(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, blocks := range []uint64{1, 2, 3, 47, 255, 256, 257, 4095, 4096, 4097, 100_003, 1 << 20, math.MaxUint32} {
		for _, zeros := range []uint8{0, 1, 4, 8, maxZeros} {
			l := layoutOf(blocks, zeros)
			widest := 0
			check := func(order uint64) {
				order = order >> zeros << zeros
				b, _ := blockOf(order, uint32(blocks))
				d := order>>zeros - l.first(b)
				widest = max(widest, (bits.Len64(d)+7)/8)
				if d>>(8*l.width-1)>>1 != 0 {
					t.Fatalf("%d blocks, %d zeros: order %#x is %#x behind the first of block %d, more than %d bytes", blocks, zeros, order, d, b, l.width)
				}
				if before, _ := blockOf((l.first(b)-1)<<zeros, uint32(blocks)); b > 0 && before != b-1 {
					t.Fatalf("%d blocks, %d zeros: block %d does not begin at %#x", blocks, zeros, b, l.first(b))
				}
			}
			for i := range uint64(2_000) {
				n := (i*blocks/2_000 + i%2) % blocks
				first := l.first(uint32(n)) << zeros
				check(first)
				check(first - 1)
				check(rng.Uint64())
				check(math.MaxUint64 - i)
			}
			if widest != l.width {
				t.Errorf("%d blocks, %d zeros: %d bytes of %d are used", blocks, zeros, widest, l.width)
			}
		}
	}
	// A few blocks more than one for 16 keys save a byte a record.
	const keys = 52_000
	if n := blocksFor(keys, firstVariableForm, 4); n != keys/16 {
		t.Errorf("%d blocks of a variable form", n)
	}
	if n := blocksFor(keys, 0, 4); n != 4096 {
		t.Errorf("%d blocks for %d keys", n, keys)
	} else if l := layoutOf(n, 4); l.recordBytes() != 14 {
		t.Errorf("%d bytes a record", l.recordBytes())
	}
}

// clustered gives keys that all meet in one order: 5,000 keys in one block.
func clustered(order uint64) []testKey {
	keys := make([]testKey, 5_000)
	for i := range keys {
		keys[i] = testKey{order: order, lo: uint64(i) * mix1}
	}
	sortKeys(keys)
	return keys
}

// clusteredEnds gives keys at both ends of the order, with nothing between them
// but empty blocks.
func clusteredEnds() []testKey {
	return append(clustered(0), clustered(maxOrder)...)
}

func clusteredBytes() []testKey {
	keys := make([]testKey, 3_000)
	for i := range keys {
		keys[i] = testKey{order: 1 << 63, bytes: fmt.Appendf(nil, "key-%0*d", 1+i%200, i)}
	}
	sortKeys(keys)
	return keys
}

// TestLookupCold: a look-up that waited for the disk reads ahead the next time, answers
// the same, and stops when it waits no more. One of few keys is no judge.
func TestLookupCold(t *testing.T) {
	keys := makeKeys(0, 500, 1)
	r := writeRun(t, newTestSegment(t), RunSpec{ID: 1}, keys)
	var qs []Query
	for _, k := range keys {
		qs = append(qs, k.query())
	}
	var l Lookup
	l.qs = qs
	for i, waited := range []bool{false, true} {
		l.took(time.Now().Add(-time.Second))
		if !l.cold || waited != (l.Waited >= time.Second) {
			t.Fatalf("500 keys took a second, time %d: cold %v, waited %v", i+1, l.cold, l.Waited)
		}
	}
	if err := r.confirm(&l, qs[:1]); err != nil || !qs[0].Found || !l.cold {
		t.Errorf("one key: found %v, still cold %v, %v", qs[0].Found, l.cold, err)
	}
	if l.Waited != 0 {
		t.Errorf("one key waited %v for the disk", l.Waited)
	}
	for end := time.Now().Add(10 * time.Second); l.cold; {
		if time.Now().After(end) {
			t.Fatal("still reads ahead what is in memory")
		}
		if err := r.confirm(&l, qs); err != nil {
			t.Fatal(err)
		}
		for i := range qs {
			if !qs[i].Found {
				t.Fatalf("key %d is not found", i)
			}
			qs[i].Found = false
		}
	}
}
