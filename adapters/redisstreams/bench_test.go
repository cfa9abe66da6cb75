package redisstreams_test

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/adapters/internal/brokerbench"
	"github.com/firstseen/firstseen/adapters/redisstreams"
	"github.com/firstseen/firstseen/internal/testguards"
)

// BenchmarkThroughput is messages through Run with an empty handler, without the guard
// and with the engine at SyncAlways, in batches of 256: with the default of 64 it is
// 53 % instead of 61.
func BenchmarkThroughput(b *testing.B) {
	brokerbench.Run(b, testguards.OpenEngine, func(b *testing.B, bed brokerbench.Bed) {
		address := newStream(b)
		addr, stream, _ := strings.Cut(address, " ")
		bed.Send(func(keys []string) { produce(b, address, keys...) })
		o := options(stream)
		o.MinIdle, o.Consume.Off, o.Batch = redisstreams.Lease, bed.Off, 256
		a, err := redisstreams.New(bed.Guard, connect(b, addr), o)
		if err != nil {
			b.Fatal(err)
		}
		bed.Consume(func(ctx context.Context) error {
			return a.Run(ctx, func(_ context.Context, m redis.XMessage) error { return bed.Handle(m.Values[keyField].(string)) })
		})
	})
}
