package engine

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// BenchmarkClaimCommit compares claiming and committing with admitting: new 16-byte keys, in
// batches and one by one, with every verdict checked.
func BenchmarkClaimCommit(b *testing.B) {
	for _, sync := range []Sync{SyncInterval, SyncAlways} {
		for _, callers := range []int{1, 4} {
			for _, op := range []string{"admit", "claim"} {
				b.Run(fmt.Sprintf("batch=1000/sync=%v/callers=%d/op=%s", sync, callers, op), func(b *testing.B) {
					benchClaims(b, sync, callers, 1000, op == "claim")
				})
			}
		}
	}
	for _, callers := range []int{1, 64} {
		for _, op := range []string{"admit", "claim"} {
			b.Run(fmt.Sprintf("batch=1/sync=always/callers=%d/op=%s", callers, op), func(b *testing.B) {
				benchClaims(b, SyncAlways, callers, 1, op == "claim")
			})
		}
	}
}

func benchClaims(b *testing.B, mode Sync, callers, batch int, claims bool) {
	e := mustOpen(b, b.TempDir(), config{Options: Options{Window: time.Hour, Capacity: 20_000_000, Sync: mode}})
	b.ReportAllocs()
	b.ResetTimer()
	var wait sync.WaitGroup
	for caller := range callers {
		wait.Go(func() {
			buf, keys := make([]byte, 16*batch), make([][]byte, batch)
			for i := range keys {
				keys[i] = buf[16*i : 16*i+16]
			}
			var cs []dedup.Claim
			var vs []dedup.Verdict
			for n := caller; n < b.N; n += callers {
				for i := range keys {
					binary.LittleEndian.PutUint64(keys[i], uint64(n*batch+i)*0x9e3779b97f4a7c15)
					binary.LittleEndian.PutUint64(keys[i][8:], uint64(n*batch+i))
				}
				var err error
				fresh := 0
				switch {
				case batch == 1 && claims:
					var c dedup.Claim
					if c, err = e.Claim(ctx, keys[0]); err == nil {
						cs = append(cs[:0], c)
						err = e.Commit(ctx, cs...)
					}
					fresh += int(freshOne(c.Verdict))
				case batch == 1:
					var v dedup.Verdict
					v, err = e.Admit(ctx, keys[0])
					fresh += int(freshOne(v))
				case claims:
					if cs, err = e.ClaimBatch(ctx, cs[:0], keys); err == nil {
						err = e.Commit(ctx, cs...)
					}
					for i := range cs {
						fresh += int(freshOne(cs[i].Verdict))
					}
				default:
					vs, err = e.AdmitBatch(ctx, vs[:0], keys)
					for _, v := range vs {
						fresh += int(freshOne(v))
					}
				}
				if err != nil || fresh != batch {
					b.Errorf("%d of %d keys are fresh, %v", fresh, batch, err)
					return
				}
			}
		})
	}
	wait.Wait()
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "keys/s")
}

func freshOne(v dedup.Verdict) (n uint) {
	if v == dedup.Fresh {
		n = 1
	}
	return n
}

// BenchmarkCommitResults is batches of 1,000 claims that are committed with results of 200
// bytes, and without: keys per second, and syncs of the results' files per batch.
func BenchmarkCommitResults(b *testing.B) {
	const batch = 1000
	for _, mode := range []Sync{SyncAlways, SyncInterval} {
		for _, size := range []int{0, 200} {
			b.Run(fmt.Sprintf("sync=%v/bytes=%d", mode, size), func(b *testing.B) {
				e := mustOpen(b, b.TempDir(), config{Options: Options{Window: time.Hour, Capacity: 2_000_000, Sync: mode, MaxResult: 200}})
				result := make([]byte, size)
				keys := make([][]byte, batch)
				var cs []dedup.Claim
				b.ReportAllocs()
				n := uint64(0)
				for b.Loop() {
					for i := range keys {
						n++
						keys[i] = binary.LittleEndian.AppendUint64(keys[i][:0], n)
					}
					var err error
					if cs, err = e.ClaimBatch(ctx, cs[:0], keys); err != nil {
						b.Fatal(err)
					}
					for i := range cs {
						if cs[i].Verdict != dedup.Fresh {
							b.Fatal(cs[i].Verdict)
						}
						if size > 0 {
							cs[i].Result = result
						}
					}
					if err := e.Commit(ctx, cs...); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "keys/s")
				b.ReportMetric(float64(e.Stats().Results.Syncs)/float64(b.N), "syncs/batch")
				if kept := e.Stats().Results.Kept; size > 0 && kept != n {
					b.Errorf("%d results of %d are kept", kept, n)
				}
			})
		}
	}
}

// TestClaimAllocs: claiming and committing a batch allocates nothing for each key, and neither does
// one key's claim.
func TestClaimAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	e := mustOpen(t, t.TempDir(), config{Options: Options{Window: time.Hour, Sync: SyncNone, MinFreeDisk: -1}})
	next := 0
	var cs []dedup.Claim
	batch := func(n int) func() {
		buf, keys := make([]byte, 16*n), make([][]byte, n)
		for i := range keys {
			keys[i] = buf[16*i : 16*i+16]
		}
		return func() {
			for i := range keys {
				next++
				binary.LittleEndian.PutUint64(keys[i], uint64(next)*0x9e3779b97f4a7c15)
			}
			var err error
			if n == 1 {
				var c dedup.Claim
				c, err = e.Claim(ctx, keys[0])
				cs = append(cs[:0], c)
			} else {
				cs, err = e.ClaimBatch(ctx, cs[:0], keys)
			}
			if err == nil {
				err = e.Commit(ctx, cs...)
			}
			if err != nil || cs[0].Verdict != dedup.Fresh {
				t.Errorf("%v, %v", cs[0].Verdict, err)
			}
		}
	}
	for n, most := range map[int]float64{1: 1, 1000: 20} {
		do := batch(n)
		for range 20 {
			do() // buffers grow
		}
		if got := testing.AllocsPerRun(50, do); got > most {
			t.Errorf("%d keys: %v allocations, at most %v are allowed", n, got, most)
		}
	}
}
