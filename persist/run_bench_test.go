package persist

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func reportKeys(b *testing.B, keys int) {
	n := float64(b.N) * float64(keys)
	b.ReportMetric(n/b.Elapsed().Seconds(), "keys/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/key")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkWriteRun writes runs of a million keys, as a flush does, synced or
// not, with values of several lengths (see valueLimit).
func BenchmarkWriteRun(b *testing.B) {
	const n = 1_000_000
	for _, form := range []uint8{0, 3} {
		keys := makeKeys(form, n, 1)
		pairs := make([]Pair, n)
		for i, k := range keys {
			pairs[i] = Pair{k.order, k.lo}
		}
		for _, limit := range []int{1 << 20, 2 << 20, 4 << 20} {
			for _, synced := range []bool{false, true} {
				b.Run(fmt.Sprintf("form=%d/value=%d/synced=%v", form, limit, synced), func(b *testing.B) {
					dir := b.TempDir()
					var s *Segment
					for i := range b.N {
						if i%16 == 0 { // a segment of 256 MB or more
							b.StopTimer()
							s = replaceSegment(b, s, dir, uint64(i+1))
							b.StartTimer()
						}
						w := s.newRun(RunSpec{ID: uint64(i), Form: form, MaxKeys: n}, limit)
						if fixedForm(form) {
							w.AddPairs(pairs)
						} else {
							addAll(w, keys)
						}
						if _, err := w.Finish(); err != nil {
							b.Fatal(err)
						}
						if synced {
							if err := s.Sync(); err != nil {
								b.Fatal(err)
							}
						}
					}
					b.StopTimer()
					reportKeys(b, n)
					if err := s.Remove(); err != nil {
						b.Fatal(err)
					}
				})
			}
		}
	}
}

func replaceSegment(b *testing.B, old *Segment, dir string, id uint64) *Segment {
	if old != nil {
		if err := old.Remove(); err != nil {
			b.Fatal(err)
		}
	}
	s, err := CreateSegment(SegmentConfig{Dir: dir, ID: id, MaxBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkConfirm asks a run of two million keys (far more than any cache) for
// keys that it has and has not, spread as a batch's are.
func BenchmarkConfirm(b *testing.B) {
	for _, form := range []uint8{0, 3} {
		keys, absent := makeKeys(form, 2_000_000, 1), makeKeys(form, 100_000, 2)
		for _, limit := range []int{1 << 20, 2 << 20, 4 << 20} {
			s := newSegmentOf(b, 1<<30)
			w := s.newRun(RunSpec{ID: 1, Form: form, MaxKeys: uint64(len(keys))}, limit)
			addAll(w, keys)
			r, err := w.Finish()
			if err != nil {
				b.Fatal(err)
			}
			for _, batch := range []int{1, 4, 32, 256} {
				for _, hit := range []bool{true, false} {
					from := absent
					if hit {
						from = keys
					}
					b.Run(fmt.Sprintf("form=%d/value=%d/batch=%d/hit=%v", form, limit, batch, hit), func(b *testing.B) {
						benchConfirm(b, r, from, batch, hit)
					})
				}
			}
		}
	}
}

func benchConfirm(b *testing.B, r *Run, from []testKey, batch int, hit bool) {
	rng := rand.New(rand.NewPCG(3, 3))
	qs := make([]Query, 100_000/batch*batch)
	for i := range qs {
		qs[i] = from[rng.IntN(len(from))].query()
	}
	for i := 0; i < len(qs); i += batch {
		slices.SortFunc(qs[i:i+batch], func(a, b Query) int { return cmp.Compare(a.Order, b.Order) })
	}
	var l Lookup
	b.ReportAllocs()
	b.ResetTimer()
	at := 0
	for range b.N {
		part := qs[at : at+batch]
		if err := r.confirm(&l, part); err != nil {
			b.Fatal(err)
		}
		for i := range part {
			if part[i].Found != hit {
				b.Fatal("wrong answer")
			}
			part[i].Found = false
		}
		if at += batch; at == len(qs) {
			at = 0
		}
	}
	reportKeys(b, batch)
}

// BenchmarkScan reads a run of two million keys, as a rebuild of a filter does.
func BenchmarkScan(b *testing.B) {
	for _, form := range []uint8{0, 3} {
		const n = 2_000_000
		keys := makeKeys(form, n, 1)
		for _, limit := range []int{1 << 20, 2 << 20, 4 << 20} {
			b.Run(fmt.Sprintf("form=%d/value=%d", form, limit), func(b *testing.B) {
				w := newSegmentOf(b, 1<<30).newRun(RunSpec{ID: 1, Form: form, MaxKeys: n}, limit)
				addAll(w, keys)
				r, err := w.Finish()
				if err != nil {
					b.Fatal(err)
				}
				b.ResetTimer()
				var sink uint64
				for range b.N {
					err := r.Scan(func(blk *Block) error {
						for i := range blk.Len() {
							if form == 0 {
								order, lo := blk.Pair(i)
								sink += order ^ lo
							} else {
								sink += uint64(blk.Key(i)[0])
							}
						}
						return nil
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				reportKeys(b, n)
			})
		}
	}
}

// BenchmarkMerge merges four runs of half a million keys.
func BenchmarkMerge(b *testing.B) {
	for _, form := range []uint8{0, 3} {
		b.Run(fmt.Sprintf("form=%d", form), func(b *testing.B) {
			const n = 500_000
			s := newSegmentOf(b, 1<<30)
			var runs []*Run
			for i := range uint64(4) {
				runs = append(runs, writeRun(b, s, RunSpec{ID: i, Form: form}, makeKeys(form, n, i)))
			}
			b.ResetTimer()
			for i := range b.N {
				if _, err := MergeRuns(s, RunSpec{ID: uint64(100 + i), Form: form}, runs, bytesOrder); err != nil {
					b.Fatal(err)
				}
			}
			reportKeys(b, 4*n)
		})
	}
}

// BenchmarkSegment opens, syncs, closes and removes segments.
func BenchmarkSegment(b *testing.B) {
	dir := b.TempDir()
	keys := makeKeys(0, 100_000, 1)
	b.Run("create+remove", func(b *testing.B) {
		for range b.N {
			s := replaceSegment(b, nil, dir, 1)
			if err := s.Remove(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open+close", func(b *testing.B) {
		b.StopTimer()
		s := replaceSegment(b, nil, b.TempDir(), 2)
		r := writeRun(b, s, RunSpec{ID: 1}, keys)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		for range b.N {
			s, _, err := OpenSegment(SegmentConfig{Dir: s.config.Dir, ID: 2}, SegmentMeta{ID: 2, Runs: []RunMeta{r.Meta()}})
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
