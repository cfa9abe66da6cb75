package consume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
)

// NoKeyPolicy says what to do with a message that has no key, or one that is too
// long to be valid.
type NoKeyPolicy uint8

const (
	// HandleNoKey has the message handled without deduplication.
	HandleNoKey NoKeyPolicy = iota
	// RefuseNoKey rejects it.
	RefuseNoKey
)

// Options of a Consumer. The zero value of every field is the safe default.
type Options struct {
	// Scope is where the keys are unique. Topic and Tag of a message replace
	// those given here, unless they are empty.
	Scope Scope
	// Key makes the key of a message that comes without one. An error counts as
	// no key.
	Key func(m Message) ([]byte, error)
	// Join makes the guard's key from scope and key, by default JoinedKey.
	Join func(dst []byte, s Scope, key []byte) []byte
	// NoKey is HandleNoKey by default.
	NoKey NoKeyPolicy

	// Lease is what leases are extended by while a handler runs; 0: the guard's
	// own.
	Lease time.Duration
	// Ordered has the messages of a batch handled one after the other, and those
	// behind one that was not acknowledged delivered again.
	Ordered bool
	// Workers is the number of handlers that run at once for one HandleBatch.
	// By default 1: one after the other, in their order. Not with Ordered.
	Workers int

	// RetryMin and RetryMax bound the delay of a Retry whose time is known:
	// while somebody else holds the key it is the end of the other lease. By
	// default 100 ms and 1 minute.
	RetryMin, RetryMax time.Duration
	// WaitMax is how long a message on its last delivery waits for another
	// holder. By default 1 minute.
	WaitMax time.Duration
	// EndTimeout bounds how long Commit and Release may take, whatever becomes of
	// the caller's context. A commit that fails is tried again until then, since
	// the effect has happened. By default 15 seconds.
	EndTimeout time.Duration

	// Observe drops nothing: duplicates are counted, given to OnDuplicate and
	// handled, and an error of the guard keeps no message away from its handler.
	// For the days before a deduplication is trusted.
	Observe bool
	// Off hands every message to its handler without asking the guard.
	Off bool
	// OnDuplicate is told of each message whose key was marked before, in the
	// goroutine that handles it. The claim has the result that was kept.
	OnDuplicate func(ctx context.Context, m Message, c dedup.Claim)

	// TracerProvider makes the spans; by default the global one.
	TracerProvider trace.TracerProvider
	// Logger gets what an operator should know: panics, lost leases, commits
	// that failed. By default slog.Default().
	Logger *slog.Logger
}

// withDefaults returns o with every zero field replaced, or one error that names
// every problem.
func (o Options) withDefaults() (Options, error) {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for name, d := range map[string]time.Duration{
		"Lease": o.Lease, "RetryMin": o.RetryMin, "RetryMax": o.RetryMax, "WaitMax": o.WaitMax, "EndTimeout": o.EndTimeout,
	} {
		if d < 0 {
			bad("%s is %v, it must not be negative", name, d)
		}
	}
	if o.NoKey > RefuseNoKey {
		bad("NoKey is %d, it must be HandleNoKey or RefuseNoKey", o.NoKey)
	}
	if o.Workers < 0 || o.Ordered && o.Workers > 1 {
		bad("Workers is %d, it must be positive, and 1 with Ordered", o.Workers)
	}
	if o.Observe && o.Off {
		bad("Observe and Off exclude each other")
	}
	if o.Join == nil {
		o.Join = JoinedKey
	}
	o.Workers = max(o.Workers, 1)
	for _, d := range []struct {
		option *time.Duration
		value  time.Duration
	}{
		{&o.RetryMin, 100 * time.Millisecond},
		{&o.RetryMax, time.Minute},
		{&o.WaitMax, time.Minute},
		{&o.EndTimeout, 15 * time.Second},
	} {
		if *d.option == 0 {
			*d.option = d.value
		}
	}
	if o.RetryMin > o.RetryMax {
		bad("RetryMin is %v, it must not be above RetryMax, %v", o.RetryMin, o.RetryMax)
	}
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if problems != nil {
		return o, fmt.Errorf("consume: options: %w", errors.Join(problems...))
	}
	return o, nil
}
