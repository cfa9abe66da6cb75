package rabbitmq

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/internal/optcheck"
	"github.com/firstseen/firstseen/dedup"
)

// Good options for the guard: publishers and operators send a message again days
// later.
const (
	Window = 7 * 24 * time.Hour
	Lease  = time.Minute
)

// A Handler has the message's effect. An error has it delivered again; one that
// wraps consume.ErrReject has it refused. See consume.Handler for the context. It
// must not acknowledge the message.
type Handler func(ctx context.Context, d *amqp.Delivery) error

// Options of an Adapter. The zero value of every field but Application and Queue is
// the safe default.
type Options struct {
	// Application is the part of the scope that names this application. Required.
	Application string
	// Queue is the queue that is consumed, and a part of the scope. Required.
	Queue string
	// Consume has everything else: policies, observing, the off switch, hooks. Its
	// Scope.Application, Key and Logger are set by this package.
	Consume consume.Options
	// Key makes a message's key; nil, or an empty key: KeyHeader.
	Key func(d *amqp.Delivery) ([]byte, error)
	// KeyHeader is the header with the key, a string or bytes. Where it is empty, or
	// the message has no such header, the property message-id is the key.
	KeyHeader string
	// MaxAttempts is how often a message's handler may fail before the message is
	// refused. Deliveries that the broker counted (x-delivery-count) are among them.
	// Default 20, the delivery limit of quorum queues since RabbitMQ 4.
	MaxAttempts int
	// RetryAfter is the delay before a failed message comes again; it doubles with
	// each attempt up to 32 times that. Default 1 s.
	RetryAfter time.Duration
	// Waits are the delays for which Run has wait queues, ascending. A message waits
	// in the first that is as long as it should wait, or in the last. Default 1 s,
	// 5 s, 30 s.
	Waits []time.Duration
	// Hold has Run keep messages that must wait unacknowledged, and needs no wait
	// queues. They take a place of Prefetch each.
	Hold bool
	// HoldMax is how long a message is held before it goes back to the queue, which
	// the broker counts. Stay below the broker's consumer_timeout of 30 minutes.
	// Default 15 minutes.
	HoldMax time.Duration
	// Prefetch is the number of messages that Run has unacknowledged at once. Default
	// 256.
	Prefetch int
	// Batch is the number of messages whose keys Run claims and commits together.
	// Default 64.
	Batch int
	// OnReject is told of messages that are refused, before the Nack. Its error has
	// the message delivered again.
	OnReject func(ctx context.Context, d *amqp.Delivery, why error) error
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	var c optcheck.Check
	c.Text("Application", o.Application)
	c.Text("Queue", o.Queue)
	optcheck.Number(&c, "MaxAttempts", &o.MaxAttempts, 20)
	optcheck.Number(&c, "Prefetch", &o.Prefetch, 256)
	optcheck.Number(&c, "Batch", &o.Batch, 64)
	optcheck.Number(&c, "RetryAfter", &o.RetryAfter, time.Second)
	optcheck.Number(&c, "HoldMax", &o.HoldMax, 15*time.Minute)
	if len(o.Waits) == 0 {
		o.Waits = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second}
	}
	least := time.Duration(0)
	for _, w := range o.Waits {
		if w <= least || w%time.Millisecond != 0 {
			c.Badf("Waits has %v after %v, they must ascend in whole milliseconds", w, least)
		}
		least = w
	}
	c.Logger(&o.Logger)
	return o, c.Err("rabbitmq")
}

// An Adapter decides what the broker is told about each message.
type Adapter struct {
	o Options
	c *consume.Consumer
}

// New makes an Adapter over a guard. Its error names every problem of the options.
func New(guard dedup.Guard, o Options) (*Adapter, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Adapter{o: o}
	co := o.Consume
	co.Scope.Application, co.Logger = o.Application, o.Logger
	co.Key = func(m consume.Message) ([]byte, error) { return a.key(m.Value.(*amqp.Delivery)) }
	if a.c, err = consume.New(guard, co); err != nil {
		return nil, fmt.Errorf("rabbitmq: %w", err)
	}
	return a, nil
}

// Consumer returns what decides, for its counters.
func (a *Adapter) Consumer() *consume.Consumer { return a.c }

// Close ends in good order; see consume.Consumer.Close. End Run first.
func (a *Adapter) Close(ctx context.Context) error { return a.c.Close(ctx) }

func (a *Adapter) key(d *amqp.Delivery) ([]byte, error) {
	if a.o.Key != nil {
		if key, err := a.o.Key(d); err != nil || len(key) > 0 {
			return key, err
		}
	}
	if a.o.KeyHeader != "" {
		switch v := d.Headers[a.o.KeyHeader].(type) {
		case string:
			return []byte(v), nil
		case []byte:
			return v, nil
		}
	}
	return []byte(d.MessageId), nil
}

func (a *Adapter) message(d *amqp.Delivery) consume.Message {
	n := attempts(d)
	return consume.Message{Topic: a.o.Queue, Deliveries: n, LastDelivery: n >= a.o.MaxAttempts, Value: d}
}

func handler(h Handler) consume.Handler {
	return func(ctx context.Context, m consume.Message) error { return h(ctx, m.Value.(*amqp.Delivery)) }
}
