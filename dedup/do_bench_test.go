package dedup_test

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// BenchmarkDo compares Do around an empty function with the two calls that it
// cannot do without, on new keys.
func BenchmarkDo(b *testing.B) {
	nothing := func(context.Context) ([]byte, error) { return nil, nil }
	f := func(name string, once func(context.Context, dedup.Guard, []byte) error) {
		b.Run(name, func(b *testing.B) {
			e, err := engine.Open(b.TempDir(), engine.Options{Window: time.Hour, Sync: engine.SyncNone, Capacity: 1 << 20})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			ctx, cancel := context.WithCancel(b.Context()) // as a server's: it can end
			defer cancel()
			key := make([]byte, 16)
			b.ReportAllocs()
			for i := uint64(0); b.Loop(); i++ {
				binary.BigEndian.PutUint64(key, i)
				if err := once(ctx, e, key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	f("with=claim-commit", func(ctx context.Context, g dedup.Guard, key []byte) error {
		c, err := g.Claim(ctx, key)
		if err != nil || c.Verdict != dedup.Fresh {
			b.Fatal(c.Verdict, err)
		}
		return g.Commit(ctx, c)
	})
	f("with=do", func(ctx context.Context, g dedup.Guard, key []byte) error {
		a, err := dedup.Do(ctx, g, key, nothing, dedup.DoOptions{})
		if a.Replayed {
			b.Fatal("replayed")
		}
		return err
	})
}
