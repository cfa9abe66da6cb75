package rabbitmq_test

import (
	"context"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/firstseen/firstseen/adapters/internal/brokerbench"
	"github.com/firstseen/firstseen/adapters/rabbitmq"
	"github.com/firstseen/firstseen/internal/testguards"
)

// BenchmarkThroughput is messages through Run with an empty handler, without the guard
// and with the engine at SyncAlways.
func BenchmarkThroughput(b *testing.B) {
	brokerbench.Run(b, testguards.OpenEngine, func(b *testing.B, bed brokerbench.Bed) {
		address := newQueue(b)
		url, queue, _ := strings.Cut(address, " ")
		bed.Send(func(keys []string) { produce(b, address, keys...) })
		o := options(queue)
		o.Consume.Off = bed.Off
		a, err := rabbitmq.New(bed.Guard, o)
		if err != nil {
			b.Fatal(err)
		}
		conn, err := amqp.Dial(url)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		bed.Consume(func(ctx context.Context) error {
			return a.Run(ctx, conn, func(_ context.Context, d *amqp.Delivery) error { return bed.Handle(string(d.Body)) })
		})
	})
}
