package rocketmqv4

import (
	"context"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/firstseen/firstseen/adapters/consume"
)

// A Listener is what PushConsumer.Subscribe takes.
type Listener = func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error)

// Concurrent returns a listener for consumers that take messages in any order.
func (a *Adapter) Concurrent(h Handler) Listener {
	return func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		level, again := a.settle(ctx, msgs, a.handle(ctx, h, msgs))
		if !again {
			return consumer.ConsumeSuccess, nil
		}
		if c, ok := primitive.GetConcurrentlyCtx(ctx); ok {
			c.DelayLevelWhenNextConsume = level
		}
		return consumer.ConsumeRetryLater, nil
	}
}

// deadLetters is the delay level with which the broker keeps a message out of the
// retry topic.
const deadLetters = -1

// settle says whether the batch is sent back and with which delay level: the longest
// that one of its messages asks for, or 0 where the broker shall choose by the number
// of tries. A batch of refused messages alone goes to the dead letters.
func (a *Adapter) settle(ctx context.Context, msgs []*primitive.MessageExt, ds []consume.Decision) (level int, again bool) {
	var delay time.Duration
	retried, rejected := 0, 0
	for i, d := range ds {
		switch {
		case d.Action == consume.Retry:
			retried++
			delay = max(delay, d.Delay)
		case d.Action == consume.Reject && !a.refused(ctx, msgs[i], d.Err):
			rejected++
		}
	}
	switch {
	case retried+rejected == 0:
		return 0, false
	case retried == 0 && rejected == len(msgs):
		return deadLetters, true
	}
	return delayLevel(delay), true
}

// delays are the broker's default levels (messageDelayLevel), from 1 on.
var delays = [...]time.Duration{
	time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 3 * time.Minute,
	4 * time.Minute, 5 * time.Minute, 6 * time.Minute, 7 * time.Minute, 8 * time.Minute, 9 * time.Minute, 10 * time.Minute,
	20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
}

// delayLevel returns the lowest level that is not shorter than d; 0 for no delay.
func delayLevel(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	for i, l := range delays {
		if l >= d {
			return i + 1
		}
	}
	return len(delays)
}

// Orderly returns a listener for consumers with WithConsumerOrder(true): messages are
// handled one after the other, and those behind one that has to come again wait
// for it.
func (a *Adapter) Orderly(h Handler) Listener {
	return func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		suspend := time.Duration(0)
		// One by one: the queue stands behind a message that has to come again.
		for i := range msgs {
			ds := a.handle(ctx, h, msgs[i:i+1])
			d := ds[0]
			if d.Action == consume.Ack || d.Action == consume.Reject && a.refused(ctx, msgs[i], d.Err) {
				continue
			}
			if suspend = d.Delay; suspend <= 0 {
				suspend = a.o.Suspend
			}
			break
		}
		if suspend == 0 {
			return consumer.ConsumeSuccess, nil
		}
		if c, ok := primitive.GetOrderlyCtx(ctx); ok {
			// The client's own default is no pause at all.
			c.SuspendCurrentQueueTimeMillis = int(max(1, suspend.Milliseconds()))
		}
		return consumer.SuspendCurrentQueueAMoment, nil
	}
}
