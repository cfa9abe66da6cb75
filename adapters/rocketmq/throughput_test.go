package rocketmq_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"

	"github.com/firstseen/firstseen/adapters/internal/rockettest"
	"github.com/firstseen/firstseen/adapters/rocketmq"
	"github.com/firstseen/firstseen/internal/testguards"
)

// BenchmarkThroughput is messages per second of an empty handler, with the same client
// and the same number of goroutines, without a guard and with each. It takes a broker:
//
//	go test -run '^$' -bench Throughput -benchtime 20000x -timeout 30m .
func BenchmarkThroughput(b *testing.B) {
	for _, c := range []struct {
		name    string
		consume func(ctx context.Context, address string, a *rocketmq.Adapter, handled *atomic.Int64) error
	}{{"simple", throughSimple}, {"push", throughPush}} {
		b.Run("client="+c.name+"/guard=none", func(b *testing.B) {
			through(b, func(ctx context.Context, address string, handled *atomic.Int64) error {
				return c.consume(ctx, address, nil, handled)
			})
		})
		for _, m := range testguards.Memories() {
			b.Run("client="+c.name+"/guard="+m.Name, func(b *testing.B) {
				a, err := rocketmq.New(m.Guard(b), options())
				if err != nil {
					b.Fatal(err)
				}
				through(b, func(ctx context.Context, address string, handled *atomic.Int64) error {
					return c.consume(ctx, address, a, handled)
				})
			})
		}
	}
}

// through sends b.N messages and measures until all are handled.
func through(b *testing.B, consume func(ctx context.Context, address string, handled *atomic.Int64) error) {
	address := newTopic(b)
	produce(b, address, rockettest.Keys(b.N)...)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var handled atomic.Int64
	ended := make(chan error, 1)
	go func() { ended <- consume(ctx, address, &handled) }()
	rockettest.Measure(b, &handled)
	stop()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	if n := handled.Load(); n != int64(b.N) {
		b.Errorf("%d messages handled, want %d", n, b.N)
	}
}

func throughSimple(ctx context.Context, address string, a *rocketmq.Adapter, handled *atomic.Int64) error {
	sc, err := startSimple(address)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	for range receivers {
		running.Go(func() {
			for ctx.Err() == nil {
				msgs, err := sc.Receive(ctx, 16, time.Minute)
				switch {
				case err != nil:
				case a != nil:
					_ = a.Process(ctx, sc, func(context.Context, *rmq.MessageView) error { handled.Add(1); return nil }, msgs...)
				default:
					for _, m := range msgs {
						handled.Add(1)
						_ = sc.Ack(ctx, m)
					}
				}
			}
		})
	}
	running.Wait()
	return sc.GracefulStop()
}

func throughPush(ctx context.Context, address string, a *rocketmq.Adapter, handled *atomic.Int64) error {
	listener := &rmq.FuncMessageListener{Consume: func(*rmq.MessageView) rmq.ConsumerResult { handled.Add(1); return rmq.SUCCESS }}
	if a != nil {
		listener = a.Listener(func(context.Context, *rmq.MessageView) error { handled.Add(1); return nil })
	}
	pc, err := startPush(address, listener)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return pc.GracefulStop()
}
