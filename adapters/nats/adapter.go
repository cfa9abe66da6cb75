package nats

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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
type Handler func(ctx context.Context, m jetstream.Msg) error

// Options of an Adapter. The zero value of every field but Application is the safe
// default.
type Options struct {
	// Application is the part of the scope that names this application. Required.
	Application string
	// Consumer is the JetStream consumer's configuration as the server has it
	// (CachedInfo().Config). The adapter goes by AckPolicy, AckWait, BackOff and
	// MaxDeliver. The zero value stands for the server's defaults.
	Consumer jetstream.ConsumerConfig
	// Consume has everything else: policies, observing, the off switch, hooks. Its
	// Scope.Application, Key and Logger are set by this package.
	Consume consume.Options
	// Key makes a message's key; nil, or an empty key: the header KeyHeader.
	Key func(m jetstream.Msg) ([]byte, error)
	// KeyHeader is the header with the key. Default Nats-Msg-Id.
	KeyHeader string
	// RetryAfter is the delay before a failed message comes again, where the
	// consumer has no BackOff; it doubles with each delivery up to 32 times that.
	// Default 1 s.
	RetryAfter time.Duration
	// Batch is the number of messages that Run fetches at once. Default 64.
	Batch int
	// OnReject is told of messages that are refused, before Term, so that it can
	// publish them to where dead letters go. Its error has the message delivered
	// again.
	OnReject func(ctx context.Context, m jetstream.Msg, why error) error
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger
}

const defaultAckWait = 30 * time.Second // the server's

func (o Options) withDefaults() (Options, error) {
	var c optcheck.Check
	c.Text("Application", o.Application)
	if o.Consumer.AckPolicy != jetstream.AckExplicitPolicy {
		c.Badf("Consumer.AckPolicy is %v, each message needs its own acknowledgement", o.Consumer.AckPolicy)
	}
	if o.Consumer.AckWait == 0 {
		o.Consumer.AckWait = defaultAckWait
	}
	if o.KeyHeader == "" {
		o.KeyHeader = jetstream.MsgIDHeader
	}
	optcheck.Number(&c, "RetryAfter", &o.RetryAfter, time.Second)
	optcheck.Number(&c, "Batch", &o.Batch, 64)
	c.Logger(&o.Logger)
	return o, c.Err("nats")
}

// An Adapter decides what the server is told about each message.
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
	co.Key = func(m consume.Message) ([]byte, error) { return a.key(m.Value.(jetstream.Msg)) }
	if a.c, err = consume.New(guard, co); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	return a, nil
}

// Consumer returns what decides, for its counters.
func (a *Adapter) Consumer() *consume.Consumer { return a.c }

// Close ends in good order; see consume.Consumer.Close. Stop the JetStream consumer
// first.
func (a *Adapter) Close(ctx context.Context) error { return a.c.Close(ctx) }

func (a *Adapter) key(m jetstream.Msg) ([]byte, error) {
	if a.o.Key != nil {
		if key, err := a.o.Key(m); err != nil || len(key) > 0 {
			return key, err
		}
	}
	return []byte(m.Headers().Get(a.o.KeyHeader)), nil
}

// message translates. Without metadata (not from JetStream) the scope has no stream.
func (a *Adapter) message(m jetstream.Msg) consume.Message {
	cm := consume.Message{Value: m}
	if md, err := m.Metadata(); err == nil {
		cm.Topic, cm.Deliveries = md.Stream, int(md.NumDelivered)
		cm.LastDelivery = a.o.Consumer.MaxDeliver > 0 && cm.Deliveries >= a.o.Consumer.MaxDeliver
	}
	return cm
}

func handler(h Handler) consume.Handler {
	return func(ctx context.Context, m consume.Message) error { return h(ctx, m.Value.(jetstream.Msg)) }
}

// tell has the server know what was decided.
func (a *Adapter) tell(ctx context.Context, cm consume.Message, d consume.Decision) error {
	m := cm.Value.(jetstream.Msg)
	var err error
	switch {
	case d.Action == consume.Ack:
		err = m.Ack()
	case d.Action == consume.Reject && a.refused(ctx, m, d.Err):
		err = m.Term()
	default:
		err = m.NakWithDelay(a.delay(cm.Deliveries, d))
	}
	if err != nil {
		a.o.Logger.Warn("nats: telling the server", "subject", m.Subject(), "decision", d.Action, "error", err)
		return fmt.Errorf("nats: %v: %w", d.Action, err)
	}
	return nil
}

// refused tells OnReject and says whether the message is done with.
func (a *Adapter) refused(ctx context.Context, m jetstream.Msg, why error) bool {
	if a.o.OnReject == nil {
		return true
	}
	if err := a.o.OnReject(ctx, m, why); err != nil {
		a.o.Logger.Error("nats: a refused message is delivered again", "subject", m.Subject(), "error", err)
		return false
	}
	return true
}

// delay is the other holder's remaining lease, or a pause that grows with each
// delivery. It is never 0: the server would deliver again at once, and spend the
// deliveries there are.
func (a *Adapter) delay(deliveries int, d consume.Decision) time.Duration {
	before := max(deliveries-1, 0)
	switch steps := a.o.Consumer.BackOff; {
	case d.Delay > 0:
		return d.Delay
	case len(steps) > 0:
		return max(steps[min(before, len(steps)-1)], time.Millisecond)
	}
	return a.o.RetryAfter << min(before, 5)
}
