package rocketmqv4_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/firstseen/firstseen/adapters/internal/rockettest"
	"github.com/firstseen/firstseen/adapters/rocketmqv4"
	"github.com/firstseen/firstseen/internal/testguards"
)

// BenchmarkThroughput is messages per second of an empty handler, with the same client
// and the same number of goroutines, without a guard and with each: one message and 32
// in a call of the listener, in 20 goroutines, which are the client's defaults, and in
// 256. It takes a broker:
//
//	go test -run '^$' -bench Throughput -benchtime 20000x -timeout 30m .
func BenchmarkThroughput(b *testing.B) {
	for _, c := range []shape{{1, 20}, {1, 256}, {32, 20}, {32, 256}} {
		name := fmt.Sprintf("batch=%d/goroutines=%d/guard=", c.batch, c.goroutines)
		b.Run(name+"none", func(b *testing.B) {
			through(b, c, func(handled *atomic.Int64) rocketmqv4.Listener {
				return func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
					handled.Add(int64(len(msgs)))
					return consumer.ConsumeSuccess, nil
				}
			})
		})
		for _, m := range testguards.Memories() {
			b.Run(name+m.Name, func(b *testing.B) {
				a, err := rocketmqv4.New(m.Guard(b), options())
				if err != nil {
					b.Fatal(err)
				}
				through(b, c, func(handled *atomic.Int64) rocketmqv4.Listener {
					return a.Concurrent(func(context.Context, *primitive.MessageExt) error { handled.Add(1); return nil })
				})
			})
		}
	}
}

// A shape is how a client calls its listener.
type shape struct{ batch, goroutines int }

// through sends b.N messages and measures until all are handled.
func through(b *testing.B, s shape, listener func(handled *atomic.Int64) rocketmqv4.Listener) {
	address := newTopic(b)
	produce(b, address, rockettest.Keys(b.N)...)
	namesrv, topic, _ := strings.Cut(address, " ")
	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer([]string{namesrv}), consumer.WithGroupName(topic),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithConsumeMessageBatchMaxSize(s.batch),
		consumer.WithConsumeGoroutineNums(s.goroutines),
		consumer.WithInstance(fmt.Sprint("through", instances.Add(1))))
	if err != nil {
		b.Fatal(err)
	}
	var handled atomic.Int64
	if err := c.Subscribe(topic, consumer.MessageSelector{}, listener(&handled)); err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	rockettest.Measure(b, &handled)
	if err := c.Shutdown(); err != nil {
		b.Error(err)
	}
}
