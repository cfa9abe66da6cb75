package nats_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/firstseen/firstseen/adapters/internal/brokerbench"
	"github.com/firstseen/firstseen/adapters/nats"
	"github.com/firstseen/firstseen/internal/testguards"
)

// BenchmarkThroughput is messages through Run with an empty handler, without the guard
// and with the engine at SyncAlways.
func BenchmarkThroughput(b *testing.B) {
	brokerbench.Run(b, testguards.OpenEngine, func(b *testing.B, bed brokerbench.Bed) {
		address := newStreamOf(b, jetstream.StreamConfig{}, jetstream.ConsumerConfig{AckWait: time.Minute, MaxAckPending: -1})
		bed.Send(func(keys []string) { produce(b, address, keys...) })
		c, nc, err := consumer(b.Context(), address)
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		o := options(c)
		o.Consume.Off = bed.Off
		a, err := nats.New(bed.Guard, o)
		if err != nil {
			b.Fatal(err)
		}
		bed.Consume(func(ctx context.Context) error {
			return a.Run(ctx, c, func(_ context.Context, m jetstream.Msg) error { return bed.Handle(string(m.Data())) })
		})
	})
}
