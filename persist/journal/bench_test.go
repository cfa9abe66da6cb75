package journal_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/persist/journal"
)

// benchJournal opens a journal whose ring was passed once, so that its pages are
// in memory as they are in a run of some length.
func benchJournal(b *testing.B, mode journal.SyncMode, ring int64) *journal.Journal {
	b.Helper()
	c := journal.Config{Path: filepath.Join(b.TempDir(), "journal"), RingBytes: ring, Sync: mode, Interval: 50 * time.Millisecond}
	j := openJournal(b, c)
	mustReplay(b, j, 0)
	f := journal.Frame{Kind: journal.KindMark, Payload: make([]byte, 64<<10)}
	for range ring / (64 << 10) {
		if err := appendWait(j, &f); err != nil {
			b.Fatal(err)
		}
		j.Release(f.End)
	}
	return j
}

// BenchmarkJournalBatch is the way of a batch of 1,000 keys over 16 shards: a
// frame of 62 sixteen-byte keys for each, then one Wait.
func BenchmarkJournalBatch(b *testing.B) {
	for _, m := range modes {
		for _, callers := range []int{1, 2, 4, 8} {
			if callers > 1 && m.mode != journal.SyncAlways {
				continue
			}
			b.Run(fmt.Sprintf("sync=%s/callers=%d", m.name, callers), func(b *testing.B) {
				j := benchJournal(b, m.mode, 64<<20)
				var left atomic.Int64
				left.Store(int64(b.N))
				b.ResetTimer()
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						f := journal.Frame{Kind: journal.KindMark, Count: 62, Payload: make([]byte, 62*16)}
						for left.Add(-1) >= 0 {
							if err := j.Reserve(context.Background(), 16*journal.FrameSpace(len(f.Payload))); err != nil {
								b.Error(err)
								return
							}
							for range 16 {
								_, _ = j.Append(&f)
							}
							if err := j.Wait(f.End); err != nil {
								b.Error(err)
								return
							}
							j.Release(f.End)
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)*16*62/b.Elapsed().Seconds()/1e6, "Mkeys/s")
			})
		}
	}
}

// BenchmarkJournalSmall is one caller with one small frame: what a call for a few
// keys costs.
func BenchmarkJournalSmall(b *testing.B) {
	for _, m := range modes {
		for _, keys := range []int{1, 10, 64, 128, 250} {
			b.Run(fmt.Sprintf("sync=%s/keys=%d", m.name, keys), func(b *testing.B) {
				j := benchJournal(b, m.mode, 16<<20)
				f := journal.Frame{Kind: journal.KindMark, Count: uint32(keys), Payload: make([]byte, keys*16), Alone: keys == 1}
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					if err := j.Reserve(context.Background(), journal.FrameSpace(len(f.Payload))); err != nil {
						b.Fatal(err)
					}
					_, _ = j.Append(&f)
					if err := j.Wait(f.End); err != nil {
						b.Fatal(err)
					}
					j.Release(f.End)
				}
			})
		}
	}
}

// BenchmarkJournalAppend is Append alone.
func BenchmarkJournalAppend(b *testing.B) {
	for _, size := range []int{16, 992, 16 << 10} {
		b.Run(fmt.Sprintf("payload=%d", size), func(b *testing.B) {
			j := benchJournal(b, journal.SyncNone, 64<<20)
			f := journal.Frame{Kind: journal.KindMark, Payload: make([]byte, size)}
			group := max(1, (16<<10)/journal.FrameSpace(size))
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += group {
				b.StopTimer()
				_ = j.Wait(f.End)
				j.Release(f.End)
				if err := j.Reserve(context.Background(), group*journal.FrameSpace(size)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				for range group {
					_, _ = j.Append(&f)
				}
			}
		})
	}
}

// BenchmarkJournalReplay reads a full ring.
func BenchmarkJournalReplay(b *testing.B) {
	const ring = 64 << 20
	c := journal.Config{Path: filepath.Join(b.TempDir(), "journal"), RingBytes: ring, Sync: journal.SyncNone}
	j := openJournal(b, c)
	mustReplay(b, j, 0)
	f := journal.Frame{Kind: journal.KindMark, Payload: make([]byte, 992)}
	for range ring / 2 / journal.FrameSpace(992) {
		if err := appendFrame(j, &f); err != nil {
			b.Fatal(err)
		}
	}
	if err := j.Sync(); err != nil {
		b.Fatal(err)
	}
	_ = j.Close(false)
	b.SetBytes(ring)
	for range b.N {
		j := openJournal(b, c)
		if r, err := j.Replay(0, func(*journal.Frame) error { return nil }); err != nil || r.End != f.End {
			b.Fatal(r, err)
		}
		_ = j.Close(false)
	}
}
