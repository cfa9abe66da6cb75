package redisstreams

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

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
// wraps consume.ErrReject has it refused. See consume.Handler for the context.
type Handler func(ctx context.Context, m redis.XMessage) error

// Options of an Adapter. The zero value of every field but the first four and the key is the
// safe default.
type Options struct {
	// Application is the part of the scope that names this application. Required.
	Application string
	// Stream is the stream that is consumed, and a part of the scope. Required.
	Stream string
	// Group is the consumer group. It must exist. Required.
	Group string
	// Consumer names this process within the group: another name for each, and the
	// same after a restart, since Redis keeps every name it has heard. Required.
	Consumer string
	// Consume has everything else: policies, observing, the off switch, hooks. Its
	// Scope.Application, Key and Logger are set by this package.
	Consume consume.Options
	// Key makes a message's key; nil, or an empty key: the field KeyField.
	Key func(m redis.XMessage) ([]byte, error)
	// KeyField is the field with the key. Key or KeyField is required.
	KeyField string
	// MaxAttempts is how often a message's handler may fail, or its process die,
	// before the message is refused. Default 20.
	MaxAttempts int
	// RetryAfter is the delay before a failed message comes again; it doubles with
	// each attempt up to 32 times that, and to MinIdle. Default 1 s.
	RetryAfter time.Duration
	// MinIdle is how long a message has no word from its consumer before another one
	// takes it. Handlers may take longer: their messages are refreshed. All consumers of the group
	// should have the same. Default 1 minute.
	MinIdle time.Duration
	// Poll is how often Run looks for messages that are due again, and how long it
	// may take to stop. Default 1 s.
	Poll time.Duration
	// Batch is the number of messages whose keys Run claims and commits together.
	// Default 64.
	Batch int
	// DeadLetters is the stream to which refused messages are added, with fields that
	// say where they come from and why.
	DeadLetters string
	// OnReject is told of messages that are refused, instead of DeadLetters. Its error
	// has the message delivered again.
	OnReject func(ctx context.Context, m redis.XMessage, why error) error
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	var c optcheck.Check
	c.Text("Application", o.Application)
	c.Text("Stream", o.Stream)
	c.Text("Group", o.Group)
	c.Text("Consumer", o.Consumer)
	if o.Key == nil && o.KeyField == "" {
		c.Badf("Key and KeyField are empty, one of them has to say what makes two messages the same")
	}
	optcheck.Number(&c, "MaxAttempts", &o.MaxAttempts, 20)
	optcheck.Number(&c, "RetryAfter", &o.RetryAfter, time.Second)
	optcheck.Number(&c, "MinIdle", &o.MinIdle, time.Minute)
	optcheck.Number(&c, "Poll", &o.Poll, time.Second)
	optcheck.Number(&c, "Batch", &o.Batch, 64)
	if o.DeadLetters != "" && o.OnReject != nil {
		c.Badf("DeadLetters and OnReject are both set, one of them takes refused messages")
	}
	c.Logger(&o.Logger)
	return o, c.Err("redisstreams")
}

// An Adapter decides what Redis is told about each message.
type Adapter struct {
	o  Options
	db redis.UniversalClient
	c  *consume.Consumer
}

// New makes an Adapter over a guard and the caller's client, which it never closes.
// Its error names every problem of the options.
func New(guard dedup.Guard, client redis.UniversalClient, o Options) (*Adapter, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Adapter{o: o, db: client}
	co := o.Consume
	co.Scope.Application, co.Logger = o.Application, o.Logger
	co.Key = func(m consume.Message) ([]byte, error) { return a.key(m.Value.(redis.XMessage)) }
	if a.c, err = consume.New(guard, co); err != nil {
		return nil, fmt.Errorf("redisstreams: %w", err)
	}
	return a, nil
}

// Consumer returns what decides, for its counters.
func (a *Adapter) Consumer() *consume.Consumer { return a.c }

// Close ends in good order; see consume.Consumer.Close. End Run first.
func (a *Adapter) Close(ctx context.Context) error { return a.c.Close(ctx) }

func (a *Adapter) key(m redis.XMessage) ([]byte, error) {
	if a.o.Key != nil {
		if key, err := a.o.Key(m); err != nil || len(key) > 0 {
			return key, err
		}
	}
	text, _ := m.Values[a.o.KeyField].(string)
	return []byte(text), nil
}

// message translates. A message that was never claimed has its first delivery.
func (a *Adapter) message(m redis.XMessage) consume.Message {
	return consume.Message{Topic: a.o.Stream, Deliveries: max(int(m.DeliveredCount), 1), Value: m}
}

// handler refuses what has been delivered too often: nobody was left to say that it
// failed.
func (a *Adapter) handler(h Handler) consume.Handler {
	return func(ctx context.Context, m consume.Message) error {
		if m.Deliveries > a.o.MaxAttempts {
			return fmt.Errorf("%w: %d deliveries were not told to have ended", consume.ErrReject, m.Deliveries-1)
		}
		return h(ctx, m.Value.(redis.XMessage))
	}
}
