package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// confirmWait bounds how long the broker may take to confirm a message that waits.
const confirmWait = 15 * time.Second

// Waits are the queues in which messages of one queue wait until they are
// delivered again. Their methods may be called by any number of goroutines.
type Waits struct {
	queue string
	steps []time.Duration

	mu       sync.Mutex // one message at a time, so that a return is that message's
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
	w := &Waits{queue: a.o.Queue, steps: a.o.Waits, ch: ch, returned: ch.NotifyReturn(make(chan amqp.Return, 1))}
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

// send returns when the broker has confirmed that d waits for about the delay.
func (w *Waits) send(ctx context.Context, d *amqp.Delivery, delay time.Duration, attempts int) error {
	step := w.steps[len(w.steps)-1]
	for _, s := range w.steps {
		if s >= delay {
			step = s
			break
		}
	}
	ctx, cancel := context.WithTimeout(ctx, confirmWait)
	defer cancel()
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := w.ch.PublishWithDeferredConfirmWithContext(ctx, "", w.name(step), true, false, again(d, attempts))
	if err != nil {
		return fmt.Errorf("rabbitmq: wait queue: %w", err)
	}
	ok, err := c.WaitContext(ctx)
	if err != nil {
		return fmt.Errorf("rabbitmq: wait queue: %w", err)
	}
	if !ok {
		return errors.New("rabbitmq: wait queue: the broker did not take the message")
	}
	select {
	case r := <-w.returned: // it comes before the confirmation
		return fmt.Errorf("rabbitmq: wait queue: returned: %s", r.ReplyText)
	default:
		return nil
	}
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
