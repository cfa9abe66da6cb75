package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"github.com/firstseen/firstseen/adapters/consume"
)

// pauseAfterError is what Run waits after an error of the broker.
const pauseAfterError = time.Second

// Run receives messages of a simple consumer and processes them, a batch at a time,
// until ctx ends; then it returns nil when the last batch is done. Errors of the
// broker are logged and tried again.
func (a *Adapter) Run(ctx context.Context, sc rmq.SimpleConsumer, h Handler) error {
	for ctx.Err() == nil {
		msgs, err := sc.Receive(ctx, int32(a.o.Batch), a.o.Invisible)
		switch {
		case ctx.Err() != nil && len(msgs) == 0:
		case err != nil && !nothingThere(err):
			a.o.Logger.Warn("rocketmq: receive", "error", err)
			timer := time.NewTimer(pauseAfterError)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		case len(msgs) > 0:
			_ = a.Process(ctx, sc, h, msgs...) // it has logged what the broker refused; those come again
		}
	}
	return nil
}

// nothingThere: the client tells by an error that no message came.
func nothingThere(err error) bool {
	var status *rmq.ErrRpcStatus
	return errors.As(err, &status) && status.Code == int32(v2.Code_MESSAGE_NOT_FOUND)
}

// Process has messages handled that Receive of sc returned, and acknowledges them
// or sets when they come again. It returns the first error of the broker; a message
// whose acknowledgement failed comes again, and is a duplicate then.
func (a *Adapter) Process(ctx context.Context, sc rmq.SimpleConsumer, h Handler, msgs ...*rmq.MessageView) error {
	batch := make([]consume.Message, len(msgs))
	for i, m := range msgs {
		batch[i] = a.message(m)
	}
	decisions := a.c.HandleBatch(ctx, batch, handler(h))
	end := context.WithoutCancel(ctx) // what was handled is acknowledged, whoever stops
	if len(msgs) == 1 {
		return a.tell(end, sc, msgs[0], decisions[0])
	}
	// Each acknowledgement is a call of its own. One after the other they would take
	// most of a batch's time (BenchmarkThroughput).
	errs := make([]error, len(msgs))
	var telling sync.WaitGroup
	room := make(chan struct{}, tellAtOnce)
	for i, d := range decisions {
		room <- struct{}{}
		telling.Go(func() {
			errs[i] = a.tell(end, sc, msgs[i], d)
			<-room
		})
	}
	telling.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// tellAtOnce is how many messages of a batch the broker is told about at a time.
const tellAtOnce = 16

func (a *Adapter) tell(ctx context.Context, sc rmq.SimpleConsumer, m *rmq.MessageView, d consume.Decision) error {
	err := a.call(ctx, sc, m, d)
	if err != nil {
		a.o.Logger.Warn("rocketmq: telling the broker", "message", m.GetMessageId(), "decision", d.Action, "error", err)
	}
	return err
}

func (a *Adapter) call(ctx context.Context, sc rmq.SimpleConsumer, m *rmq.MessageView, d consume.Decision) error {
	if d.Action == consume.Ack || d.Action == consume.Reject && a.refused(ctx, m, d.Err) {
		if err := sc.Ack(ctx, m); err != nil {
			return fmt.Errorf("rocketmq: ack: %w", err)
		}
		return nil
	}
	if err := sc.ChangeInvisibleDuration(m, a.delay(m, d)); err != nil {
		return fmt.Errorf("rocketmq: change invisible duration: %w", err)
	}
	return nil
}

// delay is the other holder's remaining lease, or a pause that doubles with each
// failed attempt.
func (a *Adapter) delay(m *rmq.MessageView, d consume.Decision) time.Duration {
	if d.Delay > 0 {
		return max(d.Delay, time.Second)
	}
	return a.o.RetryAfter << min(max(m.GetDeliveryAttempt()-1, 0), 5)
}
