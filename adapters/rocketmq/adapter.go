package rocketmq

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/internal/optcheck"
	"github.com/firstseen/firstseen/adapters/internal/rocketkey"
	"github.com/firstseen/firstseen/dedup"
)

// Good options for the guard: RocketMQ delivers a message for almost five hours by
// itself, and operators send dead letters again days later.
const (
	Window = 7 * 24 * time.Hour
	Lease  = time.Minute
)

// A Handler has the message's effect. An error has it delivered again; one that
// wraps consume.ErrReject has it refused. See consume.Handler for the context.
type Handler func(ctx context.Context, m *rmq.MessageView) error

// Options of an Adapter. The zero value of every field but Application is the safe
// default.
type Options struct {
	// Application is the part of the scope that names this application, as
	// RocketMQDedupListener's applicationName. Required.
	Application string
	// Consume has everything else: policies, observing, the off switch, hooks. Its
	// Scope.Application, Key and Logger are set by this package.
	Consume consume.Options
	// Key makes a message's key; nil, or an empty key: KEYS, then the message id.
	Key func(m *rmq.MessageView) ([]byte, error)
	// IgnoreTag recognises duplicates across tags.
	IgnoreTag bool
	// MaxAttempts is the consumer group's number of deliveries. Default 17: one and
	// 16 retries.
	MaxAttempts int
	// PushWait is how long a push listener waits in place for a message that is in
	// flight elsewhere. It occupies one of the client's threads. Default 20 s.
	PushWait time.Duration
	// RetryAfter is the delay before a simple consumer gets a failed message again;
	// it grows with each attempt up to 32 times that. Default 1 s.
	RetryAfter time.Duration
	// Batch is the number of messages that Run receives at once. Default 16.
	Batch int
	// Invisible is how long messages that Run received stay away from other
	// consumers. Set it above the time that a batch takes: afterwards the broker
	// delivers them again, which costs attempts but no second effect. At least 10 s.
	// Default 1 minute.
	Invisible time.Duration
	// OnReject is told of messages that are refused, by several goroutines at once. If
	// it returns nil, the message is acknowledged.
	OnReject func(ctx context.Context, m *rmq.MessageView, why error) error
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger
}

const leastInvisible = 10 * time.Second // what the proxy accepts

func (o Options) withDefaults() (Options, error) {
	var c optcheck.Check
	c.Text("Application", o.Application)
	optcheck.Number(&c, "MaxAttempts", &o.MaxAttempts, 17)
	optcheck.Number(&c, "Batch", &o.Batch, 16)
	optcheck.Number(&c, "PushWait", &o.PushWait, 20*time.Second)
	optcheck.Number(&c, "RetryAfter", &o.RetryAfter, time.Second)
	optcheck.Number(&c, "Invisible", &o.Invisible, time.Minute)
	if o.Invisible > 0 && o.Invisible < leastInvisible {
		c.Badf("Invisible is %v, the broker takes at least %v", o.Invisible, leastInvisible)
	}
	c.Logger(&o.Logger)
	return o, c.Err("rocketmq")
}

// An Adapter decides what the broker is told about each message.
type Adapter struct {
	o       Options
	c       *consume.Consumer
	chooser rocketkey.Chooser
}

// New makes an Adapter over a guard. Its error names every problem of the options.
func New(guard dedup.Guard, o Options) (*Adapter, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Adapter{o: o}
	a.chooser.Logger = o.Logger
	co := o.Consume
	co.Scope.Application, co.Logger = o.Application, o.Logger
	co.Key = func(m consume.Message) ([]byte, error) { return a.key(m.Value.(*rmq.MessageView)) }
	if a.c, err = consume.New(guard, co); err != nil {
		return nil, fmt.Errorf("rocketmq: %w", err)
	}
	return a, nil
}

// Consumer returns what decides, for its counters.
func (a *Adapter) Consumer() *consume.Consumer { return a.c }

// WeakIDs returns how many messages had no better key than an id of the Go v2
// producer.
func (a *Adapter) WeakIDs() uint64 { return a.chooser.Weak() }

// Close ends in good order; see consume.Consumer.Close. Stop the client first.
func (a *Adapter) Close(ctx context.Context) error { return a.c.Close(ctx) }

func (a *Adapter) key(m *rmq.MessageView) ([]byte, error) {
	if a.o.Key != nil {
		if key, err := a.o.Key(m); err != nil || len(key) > 0 {
			return key, err
		}
	}
	return []byte(a.chooser.Choose(m.GetKeys(), m.GetMessageId(), m.GetProperties()["ORIGIN_MESSAGE_ID"])), nil
}

func (a *Adapter) message(m *rmq.MessageView) consume.Message {
	attempt := int(m.GetDeliveryAttempt())
	cm := consume.Message{Topic: m.GetTopic(), Deliveries: attempt, LastDelivery: attempt >= a.o.MaxAttempts, Value: m}
	if tag := m.GetTag(); tag != nil && !a.o.IgnoreTag {
		cm.Tag = *tag
	}
	return cm
}

func handler(h Handler) consume.Handler {
	return func(ctx context.Context, m consume.Message) error { return h(ctx, m.Value.(*rmq.MessageView)) }
}

// refused tells OnReject and says whether the message is to be acknowledged.
func (a *Adapter) refused(ctx context.Context, m *rmq.MessageView, why error) bool {
	if a.o.OnReject == nil {
		return false
	}
	if err := a.o.OnReject(ctx, m, why); err != nil {
		a.o.Logger.Error("rocketmq: a refused message is delivered again", "message", m.GetMessageId(), "error", err)
		return false
	}
	return true
}
