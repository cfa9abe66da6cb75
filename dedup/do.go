package dedup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Pauses between two questions for a key that another caller holds: they double
// from doPauseFirst to doPauseLast, and up to as much again is added by chance, so
// they last 1 to 100 ms. Nobody sleeps to the end of the holder's lease: most
// holders are done long before it.
const (
	doPauseFirst = time.Millisecond
	doPauseLast  = 50 * time.Millisecond
)

// doEndTimeout is the default of DoOptions.EndTimeout.
const doEndTimeout = 10 * time.Second

// DoOptions change how Do works. The zero value is the safe default.
type DoOptions struct {
	// NoWait gives ErrInFlight at once where another caller holds the key. By
	// default Do waits for that caller's answer until ctx ends.
	NoWait bool
	// Final says of an error that fn returned whether it is the answer, now and
	// later: "card declined", not "connection refused". Such an error is kept as
	// its text. By default no error is: the key is released, and the next call
	// runs its fn.
	Final func(error) bool
	// Fingerprint is the payload of the call, or a hash of it. Its SHA-256 is
	// kept with the answer, and ErrMismatch is returned to a later caller with the
	// same key and another fingerprint. By default nothing is compared; neither
	// is it with an answer that was kept without one.
	Fingerprint []byte
	// Lease is what each renewal asks for while fn runs. By default the guard's
	// own. Longer leases cost fewer renewals, and hold the key longer after a
	// crash.
	Lease time.Duration
	// EndTimeout is how long Commit or Release may take after fn, whether ctx has
	// ended or not. By default 10 seconds.
	EndTimeout time.Duration
}

// An Answer is what Do knows of a key's one run.
type Answer struct {
	// Result is what fn returned. It is nil where fn returned nothing, or where
	// the key was marked by other means than Do.
	Result []byte
	// Replayed says that fn was not run by this call.
	Replayed bool
}

// Do runs fn once for key within the guard's window, and gives its answer to
// every other caller. While fn runs, the key's lease is extended; when it is
// lost all the same, fn's context ends with a cause that wraps ErrLeaseLost.
//
// When fn succeeds, the key is committed with its result. When it fails, panics
// or ends its goroutine, the key is released; a panic goes on. Neither depends on
// ctx, which may have ended by then. Nothing is kept for a key without a
// result, a final error and a fingerprint, so Do is as cheap as its mark.
//
// Errors: those of the guard; those of fn, as they are; a *FinalError for an
// error that is the answer; ErrInFlight (also when ctx ends during the wait),
// ErrMismatch, ErrUnknown. When Result comes with an error, fn has run, and the
// error says what became of its mark: ErrLeaseLost (somebody else may have run
// his fn as well), ErrResultTooLarge (marked, but the answer was not kept), or
// another one (nothing is known).
func Do(ctx context.Context, g Guard, key []byte, fn func(context.Context) ([]byte, error), opts DoOptions) (Answer, error) {
	claim, err := opts.claim(ctx, g, key)
	switch claim.Verdict {
	case Fresh:
		return opts.run(ctx, g, claim, fn)
	case Duplicate:
		return opts.replay(claim, err)
	default:
		return Answer{}, err
	}
}

// claim returns a claim that is Fresh or Duplicate, or an error.
func (o *DoOptions) claim(ctx context.Context, g Guard, key []byte) (Claim, error) {
	for pause := doPauseFirst; ; pause = min(2*pause, doPauseLast) {
		c, err := g.Claim(ctx, key)
		switch {
		case c.Verdict == Duplicate:
			return c, err
		case err != nil:
			return Claim{}, err
		case c.Verdict == Fresh:
			return c, nil
		case c.Verdict != InFlight:
			return Claim{}, ErrUnknown
		case o.NoWait:
			return Claim{}, ErrInFlight
		}
		timer := time.NewTimer(pause + rand.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Claim{}, fmt.Errorf("%w: %w", ErrInFlight, context.Cause(ctx))
		}
	}
}

// replay answers with what was kept.
func (o *DoOptions) replay(c Claim, err error) (Answer, error) {
	a := Answer{Replayed: true}
	if err != nil {
		return a, err
	}
	e, err := decodeEnvelope(c.Result)
	switch {
	case err != nil:
		return a, err
	case e.printed && o.Fingerprint != nil && e.hash != sha256.Sum256(o.Fingerprint):
		return a, ErrMismatch
	case e.final:
		return a, &FinalError{Text: string(e.body)}
	}
	a.Result = e.body
	return a, nil
}

// run calls fn and ends the claim.
func (o *DoOptions) run(ctx context.Context, g Guard, c Claim, fn func(context.Context) ([]byte, error)) (Answer, error) {
	result, final, err := o.call(ctx, g, c, fn)
	if err != nil && !final {
		return Answer{}, errors.Join(err, o.end(ctx, g, Guard.Release, c))
	}
	e := envelope{final: final, body: result}
	if final {
		err = &FinalError{Text: err.Error(), Err: err}
		result, e.body = nil, []byte(err.Error())
	}
	if o.Fingerprint != nil {
		e.printed, e.hash = true, sha256.Sum256(o.Fingerprint)
	}
	c.Result = e.encode()
	if failed := o.end(ctx, g, Guard.Commit, c); failed != nil {
		err = errors.Join(err, failed)
	}
	return Answer{Result: result}, err
}

// call runs fn while a Keeper extends the lease. Where fn doesn't return, the
// claim is released.
func (o *DoOptions) call(ctx context.Context, g Guard, c Claim, fn func(context.Context) ([]byte, error)) (result []byte, final bool, err error) {
	k := new(Keeper) // not from a pool: its timer would outlive a testing/synctest bubble
	returned := false
	defer func() {
		k.Stop()
		if !returned {
			// A panic or runtime.Goexit tells more than this error, which only means
			// that the lease has to run out.
			_ = o.end(ctx, g, Guard.Release, c)
		}
	}()
	k.Start(ctx, g, o.Lease, c)
	result, err = fn(k.Context(0))
	final = err != nil && o.Final != nil && o.Final(err)
	returned = true
	return result, final, err
}

// end calls Commit or Release with a context that the caller's end doesn't end.
func (o *DoOptions) end(ctx context.Context, g Guard, call func(Guard, context.Context, ...Claim) error, c Claim) error {
	limit := o.EndTimeout
	if limit <= 0 {
		limit = doEndTimeout
	}
	e := &ending{parent: ctx, until: time.Now().Add(limit)}
	defer e.stop()
	return call(g, e, c)
}
