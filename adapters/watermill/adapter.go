package watermill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

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

// Options of an Adapter. The zero value of every field but Application is the safe
// default.
type Options struct {
	// Application is the part of the scope that names this application. Required.
	Application string
	// Consume has everything else: policies, observing, the off switch, hooks. Its
	// Scope.Application, Key and Logger are set by this package.
	Consume consume.Options
	// Key makes a message's key; nil, or an empty key: KeyMetadata.
	Key func(m *message.Message) ([]byte, error)
	// KeyMetadata is the metadata with the key. Where it is empty, or the message has
	// no such metadata, the message's UUID is the key.
	KeyMetadata string
	// Publisher publishes what handlers return, before the mark. Required for handlers
	// that return messages; see the package's documentation.
	Publisher message.Publisher
	// Wait is how long a message waits in place for somebody who works on the same
	// key. Most of Watermill's subscribers deliver again at once, which would spin.
	// Default 1 minute.
	Wait time.Duration
	// Pause is the longest pause before an error that is not the handler's: the store is down,
	// or the key is still in flight. Default 1 s.
	Pause time.Duration
	// OnReject is told of messages that are refused. If it returns nil, the message is
	// acknowledged.
	OnReject func(ctx context.Context, m *message.Message, why error) error
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	var c optcheck.Check
	c.Text("Application", o.Application)
	optcheck.Number(&c, "Wait", &o.Wait, time.Minute)
	optcheck.Number(&c, "Pause", &o.Pause, time.Second)
	c.Logger(&o.Logger)
	return o, c.Err("watermill")
}

// Errors that the middleware returns. Test for them with errors.Is.
var (
	// ErrNoPublisher: a handler returned messages, and there is no Options.Publisher.
	ErrNoPublisher = errors.New("watermill: a handler returned messages, and Options.Publisher is not set")
	// ErrNotHandled: the message was not handled, for a reason that is not its
	// handler's.
	ErrNotHandled = errors.New("watermill: not handled")
)

// An Adapter decides what becomes of each message.
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
	co.Key = func(m consume.Message) ([]byte, error) { return a.key(m.Value.(*message.Message)) }
	if a.c, err = consume.New(guard, co); err != nil {
		return nil, fmt.Errorf("watermill: %w", err)
	}
	return a, nil
}

// Consumer returns what decides, for its counters.
func (a *Adapter) Consumer() *consume.Consumer { return a.c }

// Close ends in good order; see consume.Consumer.Close. Close the router first.
func (a *Adapter) Close(ctx context.Context) error { return a.c.Close(ctx) }

func (a *Adapter) key(m *message.Message) ([]byte, error) {
	if a.o.Key != nil {
		if key, err := a.o.Key(m); err != nil || len(key) > 0 {
			return key, err
		}
	}
	if a.o.KeyMetadata != "" {
		if key := m.Metadata.Get(a.o.KeyMetadata); key != "" {
			return []byte(key), nil
		}
	}
	return []byte(m.UUID), nil
}
