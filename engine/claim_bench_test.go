package engine

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// BenchmarkClaimCommit compares claiming and committing with admitting: new keys, in batches
// and one by one, with every verdict checked. Keys are of 16 bytes where nothing else is said.
func BenchmarkClaimCommit(b *testing.B) {
	for _, sync := range []Sync{SyncInterval, SyncAlways} {
		for _, callers := range []int{1, 4} {
			for _, op := range []string{"admit", "claim"} {
				b.Run(fmt.Sprintf("batch=1000/sync=%v/callers=%d/op=%s", sync, callers, op), func(b *testing.B) {
					benchClaims(b, sync, callers, 1000, 16, op == "claim")
				})
			}
		}
	}
	for _, op := range []string{"admit", "claim"} {
		b.Run("batch=1000/bytes=36/sync=interval/callers=1/op="+op, func(b *testing.B) {
			benchClaims(b, SyncInterval, 1, 1000, 36, op == "claim")
		})
	}
	for _, callers := range []int{1, 64} {
		for _, op := range []string{"admit", "claim"} {
			b.Run(fmt.Sprintf("batch=1/sync=always/callers=%d/op=%s", callers, op), func(b *testing.B) {
				benchClaims(b, SyncAlways, callers, 1, 16, op == "claim")
			})
		}
	}
}

func benchClaims(b *testing.B, mode Sync, callers, batch, size int, claims bool) {
	e := mustOpen(b, b.TempDir(), config{Options: Options{Window: time.Hour, Capacity: 20_000_000, Sync: mode}})
	b.ReportAllocs()
	b.ResetTimer()
	var wait sync.WaitGroup
	for caller := range callers {
		wait.Go(func() {
			buf, keys := make([]byte, size*batch), make([][]byte, batch)
			for i := range keys {
				keys[i] = buf[size*i : size*i+size]
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
// one key's claim, however long the keys are.
func TestClaimAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	for _, size := range []int{1, 8, 16, 20, 36, 100} {
		t.Run(fmt.Sprintf("bytes=%d", size), func(t *testing.T) {
			e := mustOpen(t, t.TempDir(), config{Options: Options{Window: time.Hour, Sync: SyncNone, MinFreeDisk: -1}})
			for n, most := range map[int]float64{1: 1, 100: 20, 1000: 20} {
				if size == 1 && n > 256 {
					continue // there are not so many keys
				}
				do := claimer(t, e, n, size)
				for range 20 {
					do() // buffers grow
				}
				if got := testing.AllocsPerRun(50, do); got > most {
					t.Errorf("%d keys: %v allocations, at most %v are allowed", n, got, most)
				}
			}
		})
	}
}

// claimer returns what claims n fresh keys of size bytes, checks the verdicts and commits them. Keys
// too short to be new each time are released instead.
func claimer(t *testing.T, e *Engine, n, size int) func() {
	buf, keys := make([]byte, size*n), make([][]byte, n)
	for i := range keys {
		keys[i] = buf[size*i : size*i+size]
	}
	next := uint64(n) << 32 // no other claimer's
	var cs []dedup.Claim
	return func() {
		for _, key := range keys {
			next++
			var number [8]byte
			binary.LittleEndian.PutUint64(number[:], next)
			copy(key, number[:])
		}
		var err error
		if n == 1 {
			var c dedup.Claim
			c, err = e.Claim(ctx, keys[0])
			cs = append(cs[:0], c)
		} else {
			cs, err = e.ClaimBatch(ctx, cs[:0], keys)
		}
		for i := range cs {
			if cs[i].Verdict != dedup.Fresh {
				t.Fatalf("key %d of %d is %v, %v", i, n, cs[i].Verdict, err)
			}
		}
		end := e.Commit
		if size < 8 {
			end = e.Release
		}
		if err == nil {
			err = end(ctx, cs...)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
