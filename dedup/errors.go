package dedup

import (
	"errors"
	"fmt"
)

// Errors of a call. Test for them with errors.Is.
var (
	// ErrKeyInvalid: a key is empty or longer than MaxKeyLen. Nothing was
	// marked for it; the rest of its batch was answered. See KeyError.
	ErrKeyInvalid = errors.New("dedup: invalid key")
	// ErrLeaseLost: the claim is no longer held, because its lease ended and
	// the key was claimed or marked by somebody else, or because it was already
	// committed or released. Nothing was changed. See LeaseError.
	ErrLeaseLost = errors.New("dedup: lease lost")
	// ErrResultTooLarge: the result is longer than the guard keeps, or the guard
	// keeps none. The key is marked all the same; claims of it say so again.
	ErrResultTooLarge = errors.New("dedup: result too large to be kept")
	// ErrResultLost: the key is marked, and its result is known to be lost by
	// damage. See ErrCorrupt for what to do with the store.
	ErrResultLost = errors.New("dedup: result lost")
	// ErrUnsupported: the store can't do this in its mode.
	ErrUnsupported = errors.New("dedup: not supported in this mode")
)

// Errors of Do. They say why fn was not run and there is no answer.
var (
	// ErrInFlight: another caller holds the key, and its answer is not there yet.
	ErrInFlight = errors.New("dedup: in flight, another caller holds the key")
	// ErrMismatch: the key was used before with another payload.
	ErrMismatch = errors.New("dedup: the key was used with another payload")
	// ErrUnknown: the guard can't say whether the key is fresh (verdict Unknown).
	ErrUnknown = errors.New("dedup: verdict unknown")
)

// Errors of a store's state.
var (
	// ErrClosed: the call came after Close.
	ErrClosed = errors.New("dedup: closed")
	// ErrFailed: an earlier write or sync failed, so what is on disk is not
	// known (I7). Every call is refused until the store is opened again.
	ErrFailed = errors.New("dedup: an earlier write failed, open the store again")
	// ErrDiskFull: less than the reserve of free space is left. Nothing was
	// marked; calls work again once there is room.
	ErrDiskFull = errors.New("dedup: disk full")
)

// Errors of opening.
var (
	// ErrLocked: another process or engine has the directory open.
	ErrLocked = errors.New("dedup: directory is in use")
	// ErrIncompatible: the directory was made by a newer version or with
	// options that can't be changed later. Nothing was touched.
	ErrIncompatible = errors.New("dedup: incompatible directory")
	// ErrCorrupt: a file is damaged or missing. See CorruptError.
	ErrCorrupt = errors.New("dedup: corrupt")
)

// MaxKeyLen is the length of the longest key in bytes.
const MaxKeyLen = 65535

// A KeyError names one invalid key of a batch. It wraps ErrKeyInvalid; a batch
// with several gives them joined (errors.Join).
type KeyError struct {
	Index int // position in the batch
	Len   int // length of the key in bytes
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("%v: key %d of the call has %d bytes, allowed are 1 to %d", ErrKeyInvalid, e.Index, e.Len, MaxKeyLen)
}

// Unwrap returns ErrKeyInvalid.
func (e *KeyError) Unwrap() error { return ErrKeyInvalid }

// A LeaseError names one claim of a call that is no longer held. It wraps
// ErrLeaseLost; a call with several gives them joined (errors.Join).
type LeaseError struct {
	Index int // position among the claims of the call
}

func (e *LeaseError) Error() string {
	return fmt.Sprintf("%v: claim %d of the call is no longer held", ErrLeaseLost, e.Index)
}

// Unwrap returns ErrLeaseLost.
func (e *LeaseError) Unwrap() error { return ErrLeaseLost }

// A ResultError says of one key or claim of a call what became of its result.
// It wraps Err; a call with several gives them joined (errors.Join).
type ResultError struct {
	Index int   // position in the call
	Err   error // ErrResultTooLarge or ErrResultLost
}

func (e *ResultError) Error() string {
	return fmt.Sprintf("%v: item %d of the call", e.Err, e.Index)
}

// Unwrap returns Err.
func (e *ResultError) Unwrap() error { return e.Err }

// IndexesOf returns the positions of the keys or claims of a batch that failed
// with target (ErrKeyInvalid, ErrLeaseLost, ErrResultTooLarge or ErrResultLost),
// in the order in which err names them.
func IndexesOf(err, target error) []int {
	if err == nil || !errors.Is(err, target) {
		return nil
	}
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand, one level at a time
	case *KeyError:
		return []int{e.Index}
	case *LeaseError:
		return []int{e.Index}
	case *ResultError:
		return []int{e.Index}
	case interface{ Unwrap() []error }:
		var all []int
		for _, sub := range e.Unwrap() {
			all = append(all, IndexesOf(sub, target)...)
		}
		return all
	}
	return IndexesOf(errors.Unwrap(err), target)
}

// A FinalError is an error of fn that is the answer to its key (DoOptions.Final).
// The call that ran fn and all later ones return it.
type FinalError struct {
	Text string // of fn's error
	Err  error  // fn's error, or nil when it was replayed
}

func (e *FinalError) Error() string { return e.Text }

// Unwrap returns Err.
func (e *FinalError) Unwrap() error { return e.Err }

// A CorruptError says where damage was found. It wraps ErrCorrupt.
type CorruptError struct {
	File   string // path of the file or of the segment's directory
	Offset int64  // byte offset in File, -1 where there is none
	Detail string // what was expected and what was found
}

func (e *CorruptError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%v: %s: %s", ErrCorrupt, e.File, e.Detail)
	}
	return fmt.Sprintf("%v: %s at byte %d: %s", ErrCorrupt, e.File, e.Offset, e.Detail)
}

// Unwrap returns ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }
