package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/firstseen/firstseen/adapters/consume"
)

// Process has messages handled and tells the broker what became of each. All their
// keys are claimed in one call and committed in one. Messages that must come again
// go to the wait queues; without those (w is nil) they are held, and Process returns
// when none is left, or ctx has ended: close the channel then, and the broker
// delivers again what is unacknowledged. It returns the first error of the
// connection or of a channel, after which the caller should close both channels and
// begin anew; what was handled is a duplicate then.
func (a *Adapter) Process(ctx context.Context, w *Waits, h Handler, ds ...amqp.Delivery) error {
	msgs := make([]consume.Message, len(ds))
	for i := range ds {
		restore(&ds[i])
		msgs[i] = a.message(&ds[i])
	}
	var failed error
	until := time.Now().Add(a.o.HoldMax)
	for len(msgs) > 0 {
		var held []consume.Message
		var waiting []waiter
		pause := a.o.HoldMax
		for i, d := range a.c.HandleBatch(ctx, msgs, handler(h)) {
			delay := a.delay(msgs[i], d)
			again, err := a.tell(context.WithoutCancel(ctx), msgs[i], d)
			if err != nil && failed == nil {
				failed = err
			}
			switch {
			case again && w != nil:
				waiting = append(waiting, waiter{msgs[i].Value.(*amqp.Delivery), delay, msgs[i].Deliveries - 1 + counted(d)})
			case again:
				msgs[i].Deliveries += counted(d)
				msgs[i].LastDelivery = msgs[i].Deliveries >= a.o.MaxAttempts
				held, pause = append(held, msgs[i]), min(pause, delay)
			}
		}
		if err := a.toWait(context.WithoutCancel(ctx), w, waiting); err != nil && failed == nil {
			failed = err
		}
		if msgs = held; len(msgs) == 0 || failed != nil || !wait(ctx, pause) {
			return failed
		}
		if time.Now().After(until) {
			return giveBack(msgs)
		}
	}
	return failed
}

// toWait has messages wait, and acknowledges those of which the broker has confirmed it.
func (a *Adapter) toWait(ctx context.Context, w *Waits, waiting []waiter) error {
	if len(waiting) == 0 {
		return nil
	}
	sent, err := w.send(ctx, waiting)
	for _, m := range waiting[:sent] {
		err = errors.Join(err, m.d.Ack(false))
	}
	if err != nil {
		a.o.Logger.Warn("rabbitmq: messages that should wait", "messages", len(waiting), "waiting", sent, "error", err)
		return fmt.Errorf("rabbitmq: %v: %w", consume.Retry, err)
	}
	return nil
}

// tell has the broker know what was decided. again: the message has to wait.
func (a *Adapter) tell(ctx context.Context, m consume.Message, d consume.Decision) (again bool, err error) {
	dv := m.Value.(*amqp.Delivery)
	gaveUp := counted(d) > 0 && m.LastDelivery
	switch {
	case d.Action == consume.Ack:
		err = dv.Ack(false)
	case (d.Action == consume.Reject || gaveUp) && a.refused(ctx, dv, d.Err):
		err = dv.Nack(false, false)
	case d.Reason == consume.Stopped:
		return false, nil // comes again when the channel closes
	default:
		return true, nil
	}
	if err != nil {
		a.o.Logger.Warn("rabbitmq: telling the broker", "message", dv.MessageId, "decision", d.Action, "error", err)
		err = fmt.Errorf("rabbitmq: %v: %w", d.Action, err)
	}
	return false, err
}

// counted is 1 for an attempt that failed by its own fault. Meeting a message in
// flight, or a store that is down, is none.
func counted(d consume.Decision) int {
	if d.Action == consume.Ack || d.Reason != consume.Failed && d.Reason != consume.Panicked {
		return 0
	}
	return 1
}

func (a *Adapter) refused(ctx context.Context, d *amqp.Delivery, why error) bool {
	if a.o.OnReject == nil {
		return true
	}
	if err := a.o.OnReject(ctx, d, why); err != nil {
		a.o.Logger.Error("rabbitmq: a refused message is delivered again", "message", d.MessageId, "error", err)
		return false
	}
	return true
}

// delay is the other holder's remaining lease, or a pause that doubles with each
// attempt.
func (a *Adapter) delay(m consume.Message, d consume.Decision) time.Duration {
	if d.Delay > 0 {
		return d.Delay
	}
	return a.o.RetryAfter << min(max(m.Deliveries-1, 0), 5)
}

// giveBack returns to the queue what was held for too long.
func giveBack(msgs []consume.Message) error {
	var errs []error
	for _, m := range msgs {
		errs = append(errs, m.Value.(*amqp.Delivery).Nack(false, true))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("rabbitmq: giving back: %w", err)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) (ok bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
