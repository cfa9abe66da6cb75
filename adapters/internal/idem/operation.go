package idem

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/dedup"
)

// A Config is what all operations of a front have in common.
type Config struct {
	Guard dedup.Guard
	// Intents is nil where none are kept.
	Intents intents.Store
	// Wait is how long Ask waits for a twin that is running.
	Wait time.Duration
	// RetryAfter is the longest pause that ComeAgain advises.
	RetryAfter time.Duration
	// CallLimit bounds each call of the guard and of the intents.
	CallLimit time.Duration
	Logger    *slog.Logger
	Counts    Counts
}

// An Operation is a request with an idempotency key.
type Operation struct {
	*Config
	Context     context.Context // the request's
	Key         []byte          // the guard's
	Name        string          // what a person calls it
	Fingerprint Fingerprint
	// Settle, where set, is asked about an intent that is in doubt.
	Settle func(intents.Intent) (intents.Outcome, error)
	// Answer appends the payload of an outcome with a status, or returns nil where
	// the front has no answer for it.
	Answer func(b []byte, o intents.Outcome) []byte
}

// ErrMismatch says that the key belongs to another request.
var ErrMismatch = errors.New("the key belongs to another request")

// NotStored says why a marked key has no answer to give, in words.
type NotStored string

func (n NotStored) Error() string { return string(n) }

// Reasons for NotStored.
const (
	WasStreamed NotStored = "it was streamed"
	WasTooLarge NotStored = "it was too large to be stored"
	WasSettled  NotStored = "its outcome was settled by hand"
	IsLost      NotStored = "it is lost"
	IsUnread    NotStored = "it is not readable"
)

// Pauses between two looks at a twin that is running. They double, so that a
// waiting request costs a store little and comes late by no more than it waited.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// Ask claims the key, as Guard.Claim does, and asks again while a twin is running
// and there is time.
func (o *Operation) Ask() (dedup.Claim, error) {
	var deadline time.Time
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		claim, err := o.claim()
		if err != nil || claim.Verdict != dedup.InFlight || o.Wait == 0 {
			return claim, err
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(o.Wait)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return claim, nil
		}
		// Many twins that wait together should not ask together.
		timer := time.NewTimer(min(left, pause/2+rand.N(pause)))
		select {
		case <-o.Context.Done():
			timer.Stop()
			return claim, nil
		case <-timer.C:
		}
	}
}

// ComeAgain is the pause to advise where a twin holds the claim. The lease says when
// a dead twin's key is free, not when a living one ends: its keeper renews it all
// the time, so what is left of it is most of a lease whatever the handler does.
func (o *Operation) ComeAgain(claim dedup.Claim) time.Duration {
	return max(time.Millisecond, min(o.RetryAfter, time.Until(claim.Expires)))
}

// claim claims the key in a context of its own. Were it the client's, one that
// hangs up at the wrong moment would leave a claim that nobody knows of, and its
// retry would be told that a twin is running until the lease ends; a driver would
// close its connection to the database, too.
func (o *Operation) claim() (dedup.Claim, error) {
	if o.Context.Err() != nil {
		return dedup.Claim{}, context.Cause(o.Context)
	}
	ctx, cancel := o.ending()
	defer cancel()
	claim, err := o.Guard.Claim(ctx, o.Key)
	if claim.Verdict == dedup.Fresh && o.Context.Err() != nil {
		o.Run(claim).Release() // nobody waits for it
		return dedup.Claim{}, context.Cause(o.Context)
	}
	return claim, err
}

// Read returns the payload of a marked key's answer. The claim and the error are
// what Ask returned. ErrMismatch says that the key belongs to another request, a
// NotStored why there is no answer.
func (o *Operation) Read(claim dedup.Claim, err error) ([]byte, error) {
	switch {
	case errors.Is(err, dedup.ErrResultTooLarge):
		return nil, o.notStored(WasTooLarge)
	case err != nil || len(claim.Result) == 0:
		o.Logger.Warn("a key is marked and has no answer", "request", o.Name, "error", err)
		return nil, o.notStored(IsLost)
	}
	r, err := DecodeRecord(claim.Result)
	if err != nil {
		return nil, o.Unread(err)
	}
	if r.State != Settled && r.Fingerprint != o.Fingerprint {
		o.Counts.Mismatches.Add(1)
		return nil, ErrMismatch
	}
	switch r.State {
	case Streamed:
		return nil, o.notStored(WasStreamed)
	case TooLarge:
		return nil, o.notStored(WasTooLarge)
	case Settled:
		return nil, o.notStored(WasSettled)
	}
	return r.Payload, nil
}

// Unread counts and logs an answer that is there and can't be read, and returns
// the NotStored for it. The front calls it when it can't read a payload.
func (o *Operation) Unread(err error) error {
	o.Logger.Error("stored answer not readable", "request", o.Name, "error", err)
	return o.notStored(IsUnread)
}

func (o *Operation) notStored(why NotStored) error {
	o.Counts.NotStored.Add(1)
	return why
}

// ending returns a context for a call that begins or ends a claim: the client's
// going away must not leave the key in flight, or its effect unmarked.
func (o *Operation) ending() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(o.Context), o.CallLimit)
}
