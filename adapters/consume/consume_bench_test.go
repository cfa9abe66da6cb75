package consume_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// BenchmarkHandle is an empty handler behind the embedded engine, every message
// new; BenchmarkClaimCommit is the guard alone. The rest is what a Consumer costs.
func BenchmarkHandle(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			c := newConsumer(b, benchGuard(b), consume.Options{Join: consume.PlainKey})
			msgs, n := make([]consume.Message, batch), 0
			b.ReportAllocs()
			for b.Loop() {
				for i := range msgs {
					msgs[i].Key = benchKey(n)
					n++
				}
				for i, d := range c.HandleBatch(ctx, msgs, func(context.Context, consume.Message) error { return nil }) {
					if d.Reason != consume.Handled {
						b.Fatalf("message %d: %+v", i, d)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/key")
		})
	}
}

func BenchmarkClaimCommit(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			g := benchGuard(b)
			keys, n := make([][]byte, batch), 0
			var cs []dedup.Claim
			b.ReportAllocs()
			for b.Loop() {
				for i := range keys {
					keys[i] = benchKey(n)
					n++
				}
				var err error
				if cs, err = g.ClaimBatch(ctx, cs[:0], keys); err != nil {
					b.Fatal(err)
				}
				if err := g.Commit(ctx, cs...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/key")
		})
	}
}

func benchKey(n int) []byte {
	key := make([]byte, 16)
	binary.LittleEndian.PutUint64(key, uint64(n)*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(key[8:], uint64(n))
	return key
}

func benchGuard(b *testing.B) dedup.Guard {
	e, err := engine.Open(b.TempDir(), engine.Options{Window: time.Hour, Sync: engine.SyncNone, MinFreeDisk: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close() })
	return e
}
