package intents

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// An Intent is a durable note that a handler began with a key. One without an
// answer, whose handler is not running any more, is in doubt: nobody knows
// whether the effect happened.
type Intent struct {
	// Key is the guard's key: scope and idempotency key, joined.
	Key []byte `json:"key"`
	// Name is what a person calls it: method, path and idempotency key.
	Name string `json:"name"`
	// Begun is when the handler began, by the wall clock.
	Begun time.Time `json:"begun"`
	// Fingerprint tells the request from others with the same key.
	Fingerprint [16]byte `json:"fingerprint"`
	// Outcome is how it was settled; the zero Outcome: not yet.
	Outcome Outcome `json:"outcome"`
}

// An Outcome settles an intent that is in doubt.
type Outcome struct {
	Kind OutcomeKind `json:"kind"`
	// Status, ContentType and Body are the answer that replays get, with Happened.
	// A Status of 0 means that none is known: replays get 409 with the reason.
	Status      int    `json:"status,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	Body        []byte `json:"body,omitempty"`
}

// OutcomeKind says what was found out about an intent.
type OutcomeKind uint8

const (
	// InDoubt is the zero value: nothing is known.
	InDoubt OutcomeKind = iota
	// NeverHappened: the effect did not happen. The next request with the key runs.
	NeverHappened
	// Happened: the effect happened. The key is marked by the next request with it.
	Happened
)

// ErrInDoubt says that an intent of the key is there already.
var ErrInDoubt = errors.New("intents: the outcome of an earlier request is in doubt")

// ErrNoIntent says that there is no intent of the key.
var ErrNoIntent = errors.New("intents: no such intent")

// Store keeps intents durably. All methods may be called by any number of
// goroutines at once.
type Store interface {
	// Begin makes the intent durable before it returns. Where an intent with the
	// same key is there already, nothing changes: it returns that intent and
	// ErrInDoubt.
	Begin(ctx context.Context, in Intent) (Intent, error)
	// End removes the intent, or does nothing where there is none. It need not be
	// durable when it returns: an intent that comes back belongs to a marked key.
	End(ctx context.Context, key []byte) error
	// Resolve sets the outcome of an intent, durably. ErrNoIntent says that there
	// is none.
	Resolve(ctx context.Context, key []byte, o Outcome) error
	// List returns all intents that have not ended, oldest first: those of
	// handlers that are running, those in doubt, and those settled whose key was
	// not asked for since.
	List(ctx context.Context) ([]Intent, error)
}

// CheckOutcome says what is wrong with an outcome that is to settle an intent.
func CheckOutcome(o Outcome) error {
	switch {
	case o.Kind != NeverHappened && o.Kind != Happened:
		return fmt.Errorf("intents: an outcome is NeverHappened or Happened, not %d", o.Kind)
	case o.Kind == NeverHappened && (o.Status != 0 || len(o.Body) > 0):
		return errors.New("intents: what never happened has no answer")
	case o.Status != 0 && (o.Status < 200 || o.Status > 599):
		return fmt.Errorf("intents: status %d, it must be from 200 to 599", o.Status)
	case o.Status == 0 && len(o.Body) > 0:
		return errors.New("intents: an answer with a body has a status")
	}
	return nil
}
