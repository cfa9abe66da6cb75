package rocketmqv4

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

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
type Handler func(ctx context.Context, m *primitive.MessageExt) error

// Options of an Adapter. The zero value of every field but Application is the safe
// default.
type Options struct {
	// Application is the part of the scope that names this application, as
	// RocketMQDedupListener's applicationName. Required.
	Application string
	// Instance is set for broadcasting consumers: a name of this instance that is
	// the same after a restart. Every instance then handles every message once.
	Instance string
	// Consume has everything else: policies, observing, the off switch, hooks. Its
	// Scope, Key and Logger are set by this package.
	Consume consume.Options
	// Key makes a message's key; nil, or an empty key: KEYS, UNIQ_KEY, ORIGIN_MESSAGE_ID,
	// or the id that this will be.
	Key func(m *primitive.MessageExt) ([]byte, error)
	// IgnoreTag recognises duplicates across tags.
	IgnoreTag bool
	// MaxReconsumeTimes is the client's option of that name. Default 16, the
	// client's own for concurrent consumers; orderly ones have no limit there.
	MaxReconsumeTimes int
	// Suspend is how long an orderly queue waits after a failed message. Default 1 s.
	Suspend time.Duration
	// OnReject is told of messages that are refused. If it returns nil, the message
	// is acknowledged.
	OnReject func(ctx context.Context, m *primitive.MessageExt, why error) error
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	var c optcheck.Check
	c.Text("Application", o.Application)
	optcheck.Number(&c, "MaxReconsumeTimes", &o.MaxReconsumeTimes, 16)
	optcheck.Number(&c, "Suspend", &o.Suspend, time.Second)
	c.Logger(&o.Logger)
	return o, c.Err("rocketmqv4")
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
	co.Scope, co.Logger = consume.Scope{Application: o.Application, Instance: o.Instance}, o.Logger
	co.Key = func(m consume.Message) ([]byte, error) { return a.key(m.Value.(*primitive.MessageExt)) }
	if a.c, err = consume.New(guard, co); err != nil {
		return nil, fmt.Errorf("rocketmqv4: %w", err)
	}
	return a, nil
}

// Consumer returns what decides, for its counters.
func (a *Adapter) Consumer() *consume.Consumer { return a.c }

// WeakIDs returns how many messages had no better key than an id of the Go
// producer.
func (a *Adapter) WeakIDs() uint64 { return a.chooser.Weak() }

// Close ends in good order; see consume.Consumer.Close. Stop the client first.
func (a *Adapter) Close(ctx context.Context) error { return a.c.Close(ctx) }

func (a *Adapter) key(m *primitive.MessageExt) ([]byte, error) {
	if a.o.Key != nil {
		if key, err := a.o.Key(m); err != nil || len(key) > 0 {
			return key, err
		}
	}
	unique, origin := m.GetProperty(primitive.PropertyUniqueClientMessageIdKeyIndex), m.GetProperty(primitive.PropertyOriginMessageId)
	if origin == "" {
		origin = m.OffsetMsgId // it was never sent back: this is what ORIGIN_MESSAGE_ID will be then
	}
	return []byte(a.chooser.Choose(strings.Fields(m.GetKeys()), unique, origin)), nil
}

func (a *Adapter) message(m *primitive.MessageExt) consume.Message {
	cm := consume.Message{
		Topic:        m.Topic,
		Deliveries:   int(m.ReconsumeTimes) + 1,
		LastDelivery: a.o.Instance != "" || int(m.ReconsumeTimes) >= a.o.MaxReconsumeTimes,
		Value:        m,
	}
	if !a.o.IgnoreTag {
		cm.Tag = m.GetTags()
	}
	return cm
}

func (a *Adapter) handle(ctx context.Context, h Handler, msgs []*primitive.MessageExt) []consume.Decision {
	batch := make([]consume.Message, len(msgs))
	for i, m := range msgs {
		batch[i] = a.message(m)
	}
	return a.c.HandleBatch(ctx, batch, func(ctx context.Context, m consume.Message) error {
		return h(ctx, m.Value.(*primitive.MessageExt))
	})
}

// refused tells OnReject and says whether the message is to be acknowledged.
func (a *Adapter) refused(ctx context.Context, m *primitive.MessageExt, why error) bool {
	if a.o.OnReject == nil {
		return false
	}
	if err := a.o.OnReject(ctx, m, why); err != nil {
		a.o.Logger.Error("rocketmqv4: a refused message is delivered again", "message", m.MsgId, "error", err)
		return false
	}
	return true
}
