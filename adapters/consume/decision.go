package consume

import (
	"errors"
	"fmt"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// An Action is what the broker is told.
type Action uint8

const (
	// Retry, the zero value: not acknowledged, to be delivered again after
	// Decision.Delay.
	Retry Action = iota
	// Ack: acknowledged, never to be delivered again.
	Ack
	// Reject: never to be delivered again, though it was not handled. Adapters
	// send it to the dead letters where the broker has them.
	Reject
)

var actionNames = [...]string{Retry: "retry", Ack: "ack", Reject: "reject"}

// String returns the lower-case name of the action.
func (a Action) String() string { return nameOf(actionNames[:], int(a)) }

// A Reason says why a Decision is what it is.
type Reason uint8

const (
	// NotAsked, the zero value: nothing happened to the message.
	NotAsked Reason = iota
	// Handled: the handler succeeded and the key is marked (Ack).
	Handled
	// Duplicated: the key was marked before (Ack).
	Duplicated
	// Busy: somebody else holds the key (Retry when the lease ends).
	Busy
	// TwinFailed: the same key stands earlier in the batch, and was not handled
	// (Retry).
	TwinFailed
	// Failed: the handler returned an error (Retry, or Reject by ErrReject).
	Failed
	// Panicked: the handler panicked (Retry). Decision.Err is a *PanicError.
	Panicked
	// LeaseLost: the lease was lost while the handler ran, and the handler gave
	// up, or was done while somebody else still holds the key (Retry).
	LeaseLost
	// NotMarked: the handler was done, but its claim could not be committed
	// (Retry).
	NotMarked
	// StoreDown: the guard gave an error (Retry).
	StoreDown
	// NotKnown: the guard answered Unknown (Retry).
	NotKnown
	// NoKey: the message has no key, or not a valid one (Reject).
	NoKey
	// Behind: an earlier message of an ordered batch was not acknowledged (Retry).
	Behind
	// Stopped: the consumer is closed, or the caller's context has ended (Retry).
	Stopped
)

var reasonNames = [...]string{
	"not-asked", "handled", "duplicate", "busy", "twin-failed", "failed", "panicked", "lease-lost", "not-marked",
	"store-down", "unknown", "no-key", "behind", "stopped",
}

// String returns the reason in lower case, as metrics and traces have it.
func (r Reason) String() string { return nameOf(reasonNames[:], int(r)) }

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprint(i)
}

// A Decision is what the adapter does with one message.
type Decision struct {
	Action Action
	// Delay is how long the broker should wait with a Retry; 0 leaves it to the
	// broker's own backoff. It is between Options.RetryMin and RetryMax.
	Delay time.Duration
	// Verdict is what the guard said; Unknown where it was not asked.
	Verdict dedup.Verdict
	Reason  Reason
	// Unguarded says that the message was handled though nobody could say
	// whether it is fresh.
	Unguarded bool
	// Result is the result that was kept with the mark: this handler's, or that
	// of the earlier one.
	Result []byte
	// Err is the error behind the reason. It may be set with Ack: the key is marked
	// then, but its result was too large or is lost.
	Err error
}

// Errors of this package. Test for them with errors.Is.
var (
	// ErrReject, wrapped in a handler's error, says that the message will never
	// succeed: it is refused instead of delivered again.
	ErrReject = errors.New("consume: message refused by its handler")
	// ErrClosed is the cause of a handler's context that Close ended, and the
	// error of a Decision after Close.
	ErrClosed = errors.New("consume: consumer closed")
	// ErrNoKey: the message has no key.
	ErrNoKey = errors.New("consume: message without a key")
)

// A PanicError is what a handler panicked with.
type PanicError struct {
	Value any
	Stack []byte // as runtime/debug.Stack gives it
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("consume: handler panicked: %v\n%s", e.Value, e.Stack)
}

// Unwrap returns the value, if the handler panicked with an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
