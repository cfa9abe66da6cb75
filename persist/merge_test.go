package persist

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// TestMergeRuns compares merges of random runs, which overlap, with the merge of
// a plain map.
func TestMergeRuns(t *testing.T) {
	src, dst := newTestSegment(t), newTestSegment(t)
	rng := rand.New(rand.NewPCG(9, 9))
	id := uint64(0)
	for trial := range 12 {
		form := []uint8{0, 4}[trial%2]
		all := makeKeys(form, rng.IntN(30_000), uint64(trial))
		if trial > 9 {
			all = clusteredEnds()
			form = 1
		}
		want := map[int]bool{}
		var runs []*Run
		for range rng.IntN(6) {
			var part []testKey
			for i, k := range all {
				if rng.IntN(3) == 0 {
					part = append(part, k)
					want[i] = true
				}
			}
			id++
			runs = append(runs, writeRun(t, src, RunSpec{ID: id, Shard: 5, Form: form, Zeros: uint8(rng.IntN(testShardBits + 1)), MaxPos: id}, part))
		}
		var model []testKey
		for i, k := range all {
			if want[i] {
				model = append(model, k)
			}
		}
		id++
		r, err := MergeRuns(dst, RunSpec{ID: id, Shard: 5, Form: form, Seq: 3, MaxPos: 17}, runs, bytesOrder)
		if err != nil {
			t.Fatal(err)
		}
		checkRun(t, r, model, makeKeys(form, 100, 1<<40))
		if m := r.Meta(); m.Seq != 3 || m.MaxPos != 17 || m.Shard != 5 {
			t.Errorf("meta %+v", m)
		}
	}
}

// TestMergeRefuses: runs of other shards or forms, damage.
func TestMergeRefuses(t *testing.T) {
	if inChild(t) {
		return
	}
	d, s := makeDamaged(t)
	_, runs, err := reopen1(t, d, s)
	if err != nil {
		t.Fatal(err)
	}
	seg := runs[0].Segment()
	defer func() {
		if err := seg.Close(); err != nil {
			t.Error(err)
		}
	}()
	spec := RunSpec{ID: 10, Form: 1}
	if _, err := MergeRuns(seg, spec, runs, bytesOrder); err == nil {
		t.Error("merged different forms")
	}
	if _, err := MergeRuns(seg, RunSpec{ID: 10, Form: 1, Shard: 3}, runs[:1], bytesOrder); err == nil {
		t.Error("merged into another shard")
	}
	twice := []*Run{runs[0], runs[0]}
	r, err := MergeRuns(seg, spec, twice, bytesOrder)
	if err != nil || r.Meta().Keys != 4_000 {
		t.Errorf("merged with itself: %v", err)
	}
	path, _ := d.dataLog(t)
	flip(t, path, vlogHeader+5_000, 3)
	spec.ID++
	if _, err := MergeRuns(seg, spec, twice, bytesOrder); !errors.Is(err, dedup.ErrCorrupt) {
		t.Errorf("merged damage: %v", err)
	}
}

// reopen1 closes and opens the segment again.
func reopen1(t *testing.T, d *damaged, s *Segment) (*Segment, []*Run, error) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return OpenSegment(d.config(), d.meta)
}

func TestWriterRefuses(t *testing.T) {
	s := newTestSegment(t)
	f := func(what string, form uint8, max uint64, add func(w *RunWriter)) {
		t.Helper()
		w := s.NewRun(RunSpec{ID: 1, Form: form, Zeros: testShardBits, MaxKeys: max})
		add(w)
		if r, err := w.Finish(); err == nil {
			t.Errorf("%s: accepted, %+v", what, r.Meta())
		}
		if _, err := w.Finish(); err == nil {
			t.Errorf("%s: finished twice", what)
		}
	}
	f("order descends", 0, 9, func(w *RunWriter) { w.Add(32, 2); w.Add(16, 3) })
	f("an order with bits of its shard", 0, 9, func(w *RunWriter) { w.Add(17, 3) })
	f("lo descends", 0, 9, func(w *RunWriter) { w.Add(16, 2); w.Add(16, 1) })
	f("key twice", 0, 9, func(w *RunWriter) { w.Add(16, 2); w.Add(16, 2) })
	f("too many keys", 0, 1, func(w *RunWriter) { w.Add(16, 2); w.Add(16, 3) })
	f("pairs descend", 0, 9, func(w *RunWriter) { w.AddPairs([]Pair{{2, 2}, {1, 3}}) })
	f("pair twice", 0, 9, func(w *RunWriter) { w.AddPairs([]Pair{{1, 2}, {1, 2}}) })
	f("pairs descend from call to call", 0, 9, func(w *RunWriter) { w.AddPairs([]Pair{{2, 2}}); w.AddPairs([]Pair{{1, 3}}) })
	f("a pair before a key", 0, 9, func(w *RunWriter) { w.Add(32, 2); w.AddPairs([]Pair{{1, 3}}) })
	f("a key before a pair", 0, 9, func(w *RunWriter) { w.AddPairs([]Pair{{2, 2}}); w.Add(16, 3) })
	f("too many pairs", 0, 1, func(w *RunWriter) { w.AddPairs([]Pair{{1, 2}, {1, 3}}) })
	f("more zeros than an order can lack", 0, 9, func(w *RunWriter) { *w = *s.NewRun(RunSpec{ID: 1, Zeros: maxZeros + 1}) })
	f("too many keys for offsets", 0, 1<<32, func(*RunWriter) {})
	f("bytes descend", 3, 9, func(w *RunWriter) { w.AddBytes(16, []byte("b")); w.AddBytes(16, []byte("a")) })
	f("bytes twice", 3, 9, func(w *RunWriter) { w.AddBytes(16, []byte("b")); w.AddBytes(16, []byte("b")) })
	f("empty key", 3, 9, func(w *RunWriter) { w.AddBytes(16, nil) })
	f("long key", 3, 9, func(w *RunWriter) { w.AddBytes(16, make([]byte, 256)) })

	// A first key of all zeroes is a key like any other.
	w := s.NewRun(RunSpec{ID: 2, MaxKeys: 2})
	w.Add(0, 0)
	w.Add(0, 1)
	if r, err := w.Finish(); err != nil || r.Meta().Keys != 2 {
		t.Error(err)
	}
}

// TestLayoutLast: the last order of a block, and no other behind it, lies in it.
func TestLayoutLast(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 100_000 {
		zeros := uint8(rng.IntN(maxZeros + 1))
		l := layoutOf(1+rng.Uint64N(1<<rng.IntN(31)), zeros)
		for _, block := range []uint32{0, uint32(rng.Uint64N(l.blocks)), uint32(l.blocks - 1)} {
			last := l.last(block)
			if b, _ := blockOf(last<<zeros, uint32(l.blocks)); b != block {
				t.Fatalf("%+v: the last order of block %d lies in %d", l, block, b)
			}
			if uint64(block) == l.blocks-1 {
				if last != 1<<(64-zeros)-1 {
					t.Fatalf("%+v: the last order of all is %#x", l, last)
				}
			} else if b, _ := blockOf((last+1)<<zeros, uint32(l.blocks)); b == block {
				t.Fatalf("%+v: block %d goes on behind its last order", l, block)
			}
		}
	}
}

// TestAddPairs: a run is the same byte by byte, in whatever pieces its keys come.
func TestAddPairs(t *testing.T) {
	s := newTestSegment(t)
	rng := rand.New(rand.NewPCG(3, 3))
	id := uint64(0)
	for _, zeros := range []uint8{0, testShardBits} {
		for _, n := range []int{1, 2, 63, 64, 65, 1000, 20_000} {
			pairs := make([]Pair, n)
			for i := range pairs {
				pairs[i] = Pair{rng.Uint64(), rng.Uint64()}
				if rng.IntN(100) == 0 && i > 0 {
					pairs[i].Hi = pairs[i-1].Hi // equal hashes
				}
			}
			slices.SortFunc(pairs, func(a, b Pair) int {
				return cmp.Or(cmp.Compare(a.Hi<<zeros, b.Hi<<zeros), cmp.Compare(a.Lo, b.Lo))
			})
			write := func(add func(w *RunWriter)) RunMeta {
				id++
				w := s.newRun(RunSpec{ID: id, Zeros: zeros, MaxKeys: uint64(n)}, 10_000)
				add(w)
				r, err := w.Finish()
				if err != nil {
					t.Fatalf("%d keys, %d zeros: %v", n, zeros, err)
				}
				m := r.Meta()
				m.ID = 0
				return m
			}
			want := write(func(w *RunWriter) {
				for _, p := range pairs {
					w.Add(p.Hi<<zeros, p.Lo)
				}
			})
			if want.Keys != uint64(n) {
				t.Fatalf("%d keys of %d", want.Keys, n)
			}
			for what, add := range map[string]func(w *RunWriter){
				"at once": func(w *RunWriter) { w.AddPairs(pairs) },
				"in pieces, some alone": func(w *RunWriter) {
					for rest := pairs; len(rest) > 0; {
						k := min(len(rest), rng.IntN(200))
						w.AddPairs(rest[:k])
						if rest = rest[k:]; len(rest) > 0 {
							w.Add(rest[0].Hi<<zeros, rest[0].Lo)
							rest = rest[1:]
						}
					}
				},
			} {
				if got := write(add); !reflect.DeepEqual(got, want) {
					t.Errorf("%d keys, %d zeros, %s: %+v, one by one %+v", n, zeros, what, got, want)
				}
			}
		}
	}
}
