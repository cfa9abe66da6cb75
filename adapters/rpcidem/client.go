package rpcidem

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
)

// Retry configures a client that sets a key and repeats calls with it. The zero
// value of every field is a good default.
type Retry struct {
	// Header is the name of the metadata with the key. Default idempotency-key.
	Header string
	// Procedure says which procedures get a key; the argument is
	// /package.Service/Method. Calls of others are sent once, as they are.
	// Default: all. Procedures that only read need no key.
	Procedure func(string) bool
	// NewKey makes a key. Default: 26 random characters (128 bits).
	NewKey func() string
	// Attempts is how often a call is sent at most. Default 5.
	Attempts int
	// AttemptTimeout ends one attempt, so that a connection that says nothing is
	// not waited for until the context ends. Default 0: no limit of its own.
	AttemptTimeout time.Duration
	// FirstPause is that before the second attempt. It doubles from then on, up
	// to MaxPause, and is random between its half and itself. A pause that the
	// server advises counts where it is longer, up to MaxPause. Defaults 50 ms
	// and 2 s.
	FirstPause, MaxPause time.Duration
	// Again says after which codes a call is repeated. Default: those that are
	// not Storable, since the server has not stored such an answer.
	Again func(codes.Code) bool
}

// Check fills in the defaults, or returns one error that names every problem.
// Client interceptors call it.
func (o Retry) Check() (Retry, error) {
	var problems []error
	if o.Header == "" {
		o.Header = DefaultHeader
	}
	if o.Procedure == nil {
		o.Procedure = func(string) bool { return true }
	}
	if o.NewKey == nil {
		o.NewKey = rand.Text
	}
	if o.Attempts == 0 {
		o.Attempts = 5
	}
	if o.FirstPause == 0 {
		o.FirstPause = 50 * time.Millisecond
	}
	if o.MaxPause == 0 {
		o.MaxPause = 2 * time.Second
	}
	if o.Again == nil {
		o.Again = func(c codes.Code) bool { return !Storable(c) }
	}
	if o.Attempts < 0 {
		problems = append(problems, fmt.Errorf("Attempts is %d, it must be positive", o.Attempts))
	}
	if o.AttemptTimeout < 0 {
		problems = append(problems, fmt.Errorf("AttemptTimeout is %v, it must not be negative", o.AttemptTimeout))
	}
	if o.FirstPause < 0 || o.MaxPause < o.FirstPause {
		problems = append(problems, fmt.Errorf("FirstPause is %v and MaxPause %v, they must be positive and in this order", o.FirstPause, o.MaxPause))
	}
	if len(problems) > 0 {
		return o, fmt.Errorf("rpcidem: bad options: %w", errors.Join(problems...))
	}
	return o, nil
}

// Do calls attempt until it succeeds, while its code asks for another try and
// there are attempts left. It returns attempt's last error. Client interceptors
// call it, with options that Check returned. attempt returns the code of its error
// and the pause that the server advised.
func (o Retry) Do(ctx context.Context, attempt func(context.Context) (code codes.Code, advised time.Duration, err error)) error {
	for n, pause := 1, o.FirstPause; ; n, pause = n+1, min(2*pause, o.MaxPause) {
		code, advised, err := o.once(ctx, attempt)
		if err == nil || n >= o.Attempts || ctx.Err() != nil || !o.Again(code) {
			return err
		}
		timer := time.NewTimer(max(pause/2+mrand.N(pause/2+1), min(advised, o.MaxPause)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

func (o Retry) once(ctx context.Context, attempt func(context.Context) (codes.Code, time.Duration, error)) (codes.Code, time.Duration, error) {
	if o.AttemptTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.AttemptTimeout)
		defer cancel()
	}
	return attempt(ctx)
}

type keyInContext struct{}

// WithKey returns a context whose calls are made with this key, by a client
// interceptor of grpcidem or connectidem. A caller that keeps the key somewhere
// durable before it calls can repeat the operation also after its own crash.
func WithKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, keyInContext{}, key)
}

// Key returns the key for a call: that of WithKey, or a new one. Client
// interceptors call it, with options that Check returned.
func (o Retry) Key(ctx context.Context) string {
	if key, ok := ctx.Value(keyInContext{}).(string); ok {
		return key
	}
	return o.NewKey()
}
