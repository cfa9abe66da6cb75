package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Run consumes Options.Queue on channels of its own and processes messages, a batch
// at a time, until ctx ends; then it returns nil when its handlers are done. With
// Hold, batches are worked on at the same time. When the connection or a channel is
// lost it lets the handlers end and returns the error: connect and call it again.
//
// The connection must not have the client's Recovery: an acknowledgement belongs to
// the channel that brought the message, and must not reach another.
func (a *Adapter) Run(ctx context.Context, conn *amqp.Connection, h Handler) (err error) {
	if conn.IsRecoveryEnabled() {
		return errors.New("rabbitmq: the connection recovers by itself, which Run can't see: dial without Recovery")
	}
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("rabbitmq: channel: %w", err)
	}
	defer func() {
		if cerr := ch.Close(); cerr != nil && !errors.Is(cerr, amqp.ErrClosed) && err == nil {
			err = fmt.Errorf("rabbitmq: closing the channel: %w", cerr)
		}
	}()
	var w *Waits
	if !a.o.Hold {
		if w, err = a.OpenWaits(conn); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.Close()) }()
	}
	if err := ch.Qos(a.o.Prefetch, 0, false); err != nil {
		return fmt.Errorf("rabbitmq: prefetch: %w", err)
	}
	deliveries, err := ch.Consume(a.o.Queue, "", false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("rabbitmq: consume %s: %w", a.o.Queue, err)
	}
	return a.consume(ctx, a.gather(deliveries), func(ctx context.Context, batch []amqp.Delivery) error { return a.Process(ctx, w, h, batch...) })
}

// gather passes deliveries on through a channel with room for all that the broker sends
// unacknowledged. The client's has none: whoever asks it what there is finds one delivery
// now and then, and batches would be of one. The goroutine ends with the deliveries.
func (a *Adapter) gather(deliveries <-chan amqp.Delivery) <-chan amqp.Delivery {
	gathered := make(chan amqp.Delivery, a.o.Prefetch)
	go func() {
		defer close(gathered)
		for d := range deliveries {
			gathered <- d
		}
	}()
	return gathered
}

var errLost = errors.New("rabbitmq: the channel, its consumer or the connection is gone")

// consume calls process until ctx ends, deliveries end or process fails.
func (a *Adapter) consume(ctx context.Context, deliveries <-chan amqp.Delivery, process func(context.Context, []amqp.Delivery) error) error {
	caller := ctx
	ctx, stop := context.WithCancelCause(caller)
	defer stop(nil)
	var working sync.WaitGroup
	defer working.Wait()
	for {
		batch, open := a.receive(ctx, deliveries)
		switch {
		case len(batch) == 0 && !open:
			stop(errLost)
			return errLost
		case len(batch) == 0:
			if caller.Err() == nil {
				return context.Cause(ctx) // a batch that was held failed
			}
			return nil
		case a.o.Hold: // a batch that waits keeps no other away; Prefetch bounds them
			working.Go(func() {
				if err := process(ctx, batch); err != nil {
					stop(err)
				}
			})
		default:
			if err := process(ctx, batch); err != nil {
				return err
			}
		}
	}
}

// receive waits for a delivery and takes what is there with it. Nothing: ctx has
// ended, or the deliveries have.
func (a *Adapter) receive(ctx context.Context, deliveries <-chan amqp.Delivery) (batch []amqp.Delivery, open bool) {
	if ctx.Err() != nil {
		return nil, true
	}
	select {
	case <-ctx.Done():
		return nil, true
	case d, ok := <-deliveries:
		if !ok {
			return nil, false
		}
		batch = append(batch, d)
	}
	for len(batch) < a.o.Batch {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return batch, false
			}
			batch = append(batch, d)
		default:
			return batch, true
		}
	}
	return batch, true
}
