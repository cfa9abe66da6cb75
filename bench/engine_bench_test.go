package bench

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// states of the engine's benchmarks: cold is a new directory, warm one that
// holds half a window, rotated one through which two windows went.
var states = []struct {
	name    string
	windows float64
}{{"cold", 0}, {"warm", 0.5}, {"rotated", 2}}

const benchWindow = 2_000_000

// BenchmarkAdmitBatch measures batches with a map in memory beside them. Making
// and checking keys is part of the loop and costs some 10 ns per key;
// cmd/dedupbench takes it out.
func BenchmarkAdmitBatch(b *testing.B) {
	targets := append(EngineCandidates()[:3], setCandidate(nil))
	syncs := []string{"always", "interval", "none", "map"}
	for i, candidate := range targets {
		for _, dup := range []float64{0.006, 0.5} {
			for _, batch := range []int{100, 1000} {
				for _, state := range states {
					name := fmt.Sprintf("dup=%v/batch=%d/sync=%s/state=%s", dup, batch, syncs[i], state.name)
					b.Run(name, func(b *testing.B) {
						benchmarkAdmit(b, candidate, Workload{Duplicates: dup, Spread: Uniform, Kind: Raw16}, batch, 1, state.windows)
					})
				}
			}
		}
	}
}

// BenchmarkAdmit measures calls with one key.
func BenchmarkAdmit(b *testing.B) {
	for i, sync := range []string{"always", "interval", "none"} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("dup=0.006/sync=%s/goroutines=%d", sync, callers), func(b *testing.B) {
				benchmarkAdmit(b, EngineCandidates()[i], Workload{Duplicates: 0.006, Spread: Uniform, Kind: Raw16}, 1, callers, 0)
			})
		}
	}
}

// benchmarkAdmit makes b.N calls after the target has seen so many windows.
func benchmarkAdmit(b *testing.B, candidate Candidate, w Workload, batch, callers int, windows float64) {
	c, err := Config{Candidate: candidate, Workload: w, Batch: batch, Callers: callers, Keys: 1 << 40, Window: benchWindow}.withDefaults()
	if err != nil {
		b.Fatal(err)
	}
	m := newMeasurement(c, b.TempDir())
	target, err := candidate.Open(b.Context(), Setup{
		Dir: m.dir, Keys: benchWindow, KeyBytes: w.keyBytes(), Window: windowOf(benchWindow), Now: m.clock.now, Callers: callers, MaxBatch: 1000,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer target.Close()
	for m.clock.messages.Load() < uint64(windows*benchWindow) {
		benchmarkCall(b, target, m.streams[0], m.clock, 1000, nil)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var wait sync.WaitGroup
	for id, s := range m.streams {
		calls := b.N / callers
		if id < b.N%callers {
			calls++
		}
		wait.Go(func() {
			var vs []dedup.Verdict
			for range calls {
				vs = benchmarkCall(b, target, s, m.clock, batch, vs)
			}
		})
	}
	wait.Wait()
	b.StopTimer()
	keys := float64(b.N) * float64(batch)
	b.ReportMetric(keys/b.Elapsed().Seconds(), "keys/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/keys, "ns/key")
}

func benchmarkCall(b *testing.B, target Target, s *stream, k *clock, batch int, vs []dedup.Verdict) []dedup.Verdict {
	s.fill(batch)
	vs, err := target.Admit(context.Background(), vs[:0], s.keys)
	if err != nil {
		b.Error(err)
		return vs
	}
	var t tally
	if err := t.check(s, vs); err != nil || t.missed+t.wrong+t.unanswered > 0 {
		b.Errorf("wrong answers: %+v, %v", t, err)
	}
	k.end(0, uint64(batch))
	return vs
}
