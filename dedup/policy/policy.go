package policy

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// An Action says what to do with a message of which nothing is known.
type Action uint8

const (
	// Refuse passes on what the guard said: the message has to come again.
	Refuse Action = iota
	// LetThrough has the message handled without a guard.
	LetThrough
)

// Options of a Guard. The zero value refuses everything that is in doubt.
type Options struct {
	// OnDown is for keys whose claim failed: the store can't be reached, is too
	// slow for Timeout, full or damaged. An invalid key, dedup.ErrClosed,
	// dedup.ErrUnsupported and the end of the caller's own context are not meant
	// and always refused.
	OnDown Action
	// OnUnknown is for keys with the verdict Unknown and without an error: the
	// guard is there, and the part of the window that has the answer is not.
	OnUnknown Action
	// Timeout ends each call of the guard. By default only the caller's context
	// does.
	Timeout time.Duration
	// Logger gets a line when something is let through or can't be marked later.
	// By default slog.Default().
	Logger *slog.Logger
	// LogEvery is the shortest time between two lines. By default 10 seconds.
	LogEvery time.Duration
}

// A Guard is a dedup.Guard around another one.
type Guard struct {
	guard    dedup.Guard
	opts     Options
	counters counters
	log      limiter
}

var _ dedup.Guard = (*Guard)(nil)

// New returns a guard that asks g and follows opts.
func New(g dedup.Guard, opts Options) *Guard {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.LogEvery <= 0 {
		opts.LogEvery = 10 * time.Second
	}
	return &Guard{guard: g, opts: opts, log: limiter{logger: opts.Logger, every: opts.LogEvery}}
}

// limit returns the context for one call of the guard.
func (g *Guard) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if g.opts.Timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, g.opts.Timeout)
}

// Claim implements [dedup.Guard].
func (g *Guard) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	call, cancel := g.limit(ctx)
	defer cancel()
	c, err := g.guard.Claim(call, key)
	if c.Verdict != dedup.Unknown {
		return c, err
	}
	c.Key = key
	items, down := split(err)
	if len(items) > 0 {
		return c, err
	}
	return c, g.decide(ctx, down, &c)
}

// ClaimBatch implements [dedup.Guard].
func (g *Guard) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	call, cancel := g.limit(ctx)
	defer cancel()
	old := len(cs)
	cs, err := g.guard.ClaimBatch(call, cs, keys)
	for i := len(cs) - old; i < len(keys); i++ {
		cs = append(cs, dedup.Claim{Key: keys[i]}) // the guard gave up before
	}
	items, down := split(err)
	bad := make(map[int]bool)
	for _, i := range dedup.IndexesOf(err, dedup.ErrKeyInvalid) {
		bad[i] = true
	}
	var doubtful []*dedup.Claim
	for i := range cs[old:] {
		if c := &cs[old+i]; c.Verdict == dedup.Unknown && !bad[i] {
			c.Key = keys[i]
			doubtful = append(doubtful, c)
		}
	}
	if len(doubtful) == 0 {
		return cs, err
	}
	return cs, errors.Join(append(items, g.decide(ctx, down, doubtful...))...)
}

// decide changes claims of which nothing is known, as the options say, and
// returns what is left of down.
func (g *Guard) decide(ctx context.Context, down error, claims ...*dedup.Claim) error {
	n := uint64(len(claims))
	action, why := g.opts.OnUnknown, "verdict unknown"
	if down == nil {
		g.counters.unknown.Add(n)
	} else {
		g.counters.failed(ctx, down)
		g.counters.down.Add(n)
		action, why = g.opts.OnDown, down.Error()
		if ctx.Err() != nil || errors.Is(down, dedup.ErrClosed) || errors.Is(down, dedup.ErrUnsupported) {
			action = Refuse
		}
	}
	if action != LetThrough {
		g.counters.refused.Add(n)
		return down
	}
	g.counters.letThrough.Add(n)
	g.log.warn(ctx, "dedup: messages are handled without a guard", n, why)
	for _, c := range claims {
		*c = dedup.Claim{Key: c.Key, Verdict: dedup.Fresh, Unguarded: true}
	}
	return nil
}

// split takes the errors of single keys out of err and returns the rest, which
// is about the whole call.
func split(err error) (items []error, rest error) {
	single := errors.Is(err, dedup.ErrKeyInvalid) || errors.Is(err, dedup.ErrResultTooLarge) || errors.Is(err, dedup.ErrResultLost)
	if !single {
		return nil, err
	}
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand, one level at a time
	case *dedup.KeyError, *dedup.ResultError:
		return []error{err}, nil
	case interface{ Unwrap() []error }:
		var others []error
		for _, sub := range e.Unwrap() {
			its, other := split(sub)
			items, others = append(items, its...), append(others, other)
		}
		return items, errors.Join(others...)
	}
	if inner := errors.Unwrap(err); inner != nil {
		return split(inner)
	}
	return []error{err}, nil // a sentinel without a position
}
