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
	// committed or released. Nothing was changed.
	ErrLeaseLost = errors.New("dedup: lease lost")
	// ErrUnsupported: the store can't do this in its mode.
	ErrUnsupported = errors.New("dedup: not supported in this mode")
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
