package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Headers of a message that has waited: what it has behind it, and where its
// publisher sent it.
const (
	attemptsHeader   = "firstseen-attempts"
	exchangeHeader   = "firstseen-exchange"
	routingKeyHeader = "firstseen-routing-key"
	deliveryCount    = "x-delivery-count" // the broker's, of quorum queues
)

// confirmWait bounds how long the broker may take to confirm a lot.
const confirmWait = 15 * time.Second

// Waits are the queues in which messages of one queue wait until they are
// delivered again. Their methods may be called by any number of goroutines.
type Waits struct {
	queue string
	steps []time.Duration

	mu       sync.Mutex // one lot at a time, so that a return is that lot's
	ch       *amqp.Channel
	returned chan amqp.Return
}

// OpenWaits declares the wait queues of Options.Queue, named after it
// ("orders.wait.5s"), on a channel of its own. They are quorum queues whose messages
// go back when their time is over, and stay until the queue has confirmed them.
func (a *Adapter) OpenWaits(conn *amqp.Connection) (*Waits, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: wait queues: %w", err)
	}
	w := &Waits{queue: a.o.Queue, steps: a.o.Waits, ch: ch, returned: ch.NotifyReturn(make(chan amqp.Return, lotSize))}
	if err := w.declare(); err != nil {
		return nil, errors.Join(fmt.Errorf("rabbitmq: wait queues: %w", err), w.Close())
	}
	return w, nil
}

func (w *Waits) declare() error {
	if err := w.ch.Confirm(false); err != nil {
		return err
	}
	for _, step := range w.steps {
		_, err := w.ch.QueueDeclare(w.name(step), true, false, false, false, amqp.Table{
			amqp.QueueTypeArg:           amqp.QueueTypeQuorum,
			amqp.QueueMessageTTLArg:     step.Milliseconds(),
			"x-dead-letter-exchange":    "",
			"x-dead-letter-routing-key": w.queue,
			"x-dead-letter-strategy":    "at-least-once",
			amqp.QueueOverflowArg:       amqp.QueueOverflowRejectPublish, // which at-least-once needs
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *Waits) name(step time.Duration) string { return w.queue + ".wait." + step.String() }

// Close closes the channel. The queues stay, with what is in them.
func (w *Waits) Close() error {
	if err := w.ch.Close(); err != nil && !errors.Is(err, amqp.ErrClosed) {
		return fmt.Errorf("rabbitmq: closing the wait queues: %w", err)
	}
	return nil
}

// lotSize is how many messages are published before their confirmations are awaited:
// one wait for the broker's disk and not one for each. The client must never have to wait for room in
// returned.
const lotSize = 256

// A waiter is a message on its way to a wait queue.
type waiter struct {
	d        *amqp.Delivery
	delay    time.Duration
	attempts int
}

// send returns how many of the messages, in their order, the broker has confirmed to
// wait, each for about its delay. Without an error it is all of them.
func (w *Waits) send(ctx context.Context, all []waiter) (sent int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for lot := range slices.Chunk(all, lotSize) {
		if err := w.sendLotLocked(ctx, lot); err != nil {
			return sent, fmt.Errorf("rabbitmq: wait queue: %w", err)
		}
		sent += len(lot)
	}
	return sent, nil
}

func (w *Waits) sendLotLocked(ctx context.Context, lot []waiter) error {
	ctx, cancel := context.WithTimeout(ctx, confirmWait)
	defer cancel()
	confirms := make([]*amqp.DeferredConfirmation, len(lot))
	for i, m := range lot {
		c, err := w.ch.PublishWithDeferredConfirmWithContext(ctx, "", w.name(w.step(m.delay)), true, false, again(m.d, m.attempts))
		if err != nil {
			return err
		}
		confirms[i] = c
	}
	for _, c := range confirms {
		ok, err := c.WaitContext(ctx)
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("the broker did not take a message")
		}
	}
	var err error
	for range len(w.returned) { // returns come before the confirmations
		err = fmt.Errorf("returned: %s", (<-w.returned).ReplyText)
	}
	return err
}

// step is the first that is as long as the delay, or the last.
func (w *Waits) step(delay time.Duration) time.Duration {
	for _, s := range w.steps {
		if s >= delay {
			return s
		}
	}
	return w.steps[len(w.steps)-1]
}

// again is d as it is published once more. What would lead it elsewhere, or be
// refused, stays behind: CC and BCC, user-id, expiration, the broker's own counts.
func again(d *amqp.Delivery, attempts int) amqp.Publishing {
	headers := maps.Clone(d.Headers)
	if headers == nil {
		headers = amqp.Table{}
	}
	maps.DeleteFunc(headers, func(name string, _ any) bool {
		switch name {
		case "CC", "BCC", deliveryCount, "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason",
			"x-last-death-exchange", "x-last-death-queue", "x-last-death-reason":
			return true
		}
		return false
	})
	headers[attemptsHeader] = int64(attempts)
	headers[exchangeHeader], headers[routingKeyHeader] = d.Exchange, d.RoutingKey
	return amqp.Publishing{
		Headers: headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: amqp.Persistent,
		Priority: d.Priority, CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, MessageId: d.MessageId,
		Timestamp: d.Timestamp, Type: d.Type, AppId: d.AppId, Body: d.Body,
	}
}

// restore gives a message that has waited its exchange and routing key back.
func restore(d *amqp.Delivery) {
	exchange, ok := d.Headers[exchangeHeader].(string)
	routingKey, ok2 := d.Headers[routingKeyHeader].(string)
	if ok && ok2 {
		d.Exchange, d.RoutingKey = exchange, routingKey
	}
}

// attempts counts the deliveries of d, this one included: those before it waited and
// those since. A classic queue only tells whether there was one.
func attempts(d *amqp.Delivery) int {
	since, counted := count(d.Headers, deliveryCount)
	if !counted && d.Redelivered {
		since = 1
	}
	before, _ := count(d.Headers, attemptsHeader)
	return before + since + 1
}

func count(t amqp.Table, name string) (n int, ok bool) {
	switch v := t[name].(type) {
	case int64:
		return int(max(v, 0)), true
	case int32:
		return int(max(v, 0)), true
	}
	return 0, false
}
