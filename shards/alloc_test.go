package shards

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// TestAdmitAllocatesNothing: a batch that was used before, of a set whose tables
// have their size, costs no allocation, be its keys fresh, duplicates or "maybe".
func TestAdmitAllocatesNothing(t *testing.T) {
	const batch, runs = 500, 20
	for name, variable := range map[string]bool{"fixed": false, "variable": true} {
		h := newBed(t, Config{MaxKeys: 200_000})
		h.log.discard = true
		h.set.c.Confirmer = noRuns{}
		var b Batch
		out := make([]dedup.Verdict, batch)
		next := 0
		keys := make([][]byte, batch*(2*runs+100))
		for i := range keys {
			if keys[i] = key16(i); variable {
				keys[i] = append(keys[i], '!')
			}
		}
		admit := func(keys [][]byte) {
			b.Out = out
			h.set.Route(&b, keys)
			if err := h.set.Admit(context.Background(), &b, 1); err != nil {
				t.Fatal(err)
			}
		}
		fresh := func() {
			admit(keys[next : next+batch])
			next += batch
		}
		for range 80 { // the tables grow to more than the rest needs
			fresh()
		}
		if n := testing.AllocsPerRun(runs, fresh); n != 0 {
			t.Errorf("%s, fresh: %v allocations a batch", name, n)
		}
		if out[0] != dedup.Fresh {
			t.Fatalf("%s: %v, want fresh", name, out[0])
		}
		if n := testing.AllocsPerRun(runs, func() { admit(keys[:batch]) }); n != 0 {
			t.Errorf("%s, duplicates: %v allocations a batch", name, n)
		}
		h.set.AddGeneration(1, false, true)
		admit(keys[next : next+batch]) // grows the list of those that ask the runs
		if n := testing.AllocsPerRun(runs, func() { admit(keys[:batch]) }); n != 0 {
			t.Errorf("%s, maybe: %v allocations a batch", name, n)
		}
	}
}

type noRuns struct{}

func (noRuns) Offer(*Batch, []Pending) {}

func (noRuns) Confirm(*Batch, []Pending) error { return nil }

// BenchmarkAdmit: fresh and known keys in memory, without journal and runs.
func BenchmarkAdmit(b *testing.B) {
	for _, dup := range []string{"0", "0.5"} {
		b.Run("dup="+dup+"/batch=1000", func(b *testing.B) {
			h := newBed(b, Config{Shards: 16, MaxKeys: 1 << 16})
			h.log.discard = true
			h.set.c.Confirmer = noRuns{}
			rng := rand.New(rand.NewPCG(1, 8))
			var batch Batch
			keys, out := make([][]byte, 1000), make([]dedup.Verdict, 1000)
			next := uint64(0)
			for b.Loop() {
				for i := range keys {
					if dup == "0" || i%2 == 0 || next == 0 {
						next++
						keys[i] = key16(int(next))
					} else {
						keys[i] = key16(int(rng.Uint64N(next)))
					}
				}
				batch.Out = out
				h.set.Route(&batch, keys)
				if err := h.set.Admit(context.Background(), &batch, 1); err != nil {
					b.Fatal(err)
				}
				for u := h.set.Next(); u != nil; u = h.set.Next() {
					h.set.Published(u, func() {})
				}
				h.set.Clear()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/key")
		})
	}
}
