package bench

import (
	"context"
	"errors"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// A Target is an open deduplicator. Admit is called by several goroutines at
// once, the other methods by one.
type Target interface {
	// Admit marks keys on sight and appends one verdict for each to vs, in the
	// order of keys. The target copies what it keeps: the caller reuses the
	// memory of the keys after the call.
	Admit(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error)
	// Usage is called every 100 ms and should cost little.
	Usage() Usage
	// Close stops the target and leaves its files.
	Close() error
}

// A Versioned target says which server did the work.
type Versioned interface {
	Version() string
}

// A Settler works on after its calls have returned.
type Settler interface {
	// Settle waits, some seconds at most, until what is half written is written: it
	// would count as bytes on the disk, and its keys as not there yet.
	Settle()
}

// Usage is what a target knows of its own consumption; zero where it doesn't.
type Usage struct {
	Memory    int64  `json:"memory_bytes,omitempty"`      // as the target counts it
	Process   int64  `json:"process_bytes,omitempty"`     // resident memory of a server process of its own
	Unflushed uint64 `json:"unflushed_keys,omitempty"`    // keys that only the ring holds so far
	Flushes   uint64 `json:"flushes,omitempty"`           // since opening
	Rotations uint64 `json:"rotations,omitempty"`         // since opening
	Confirms  uint64 `json:"confirms,omitempty"`          // look-ups in the store since opening
	Needless  uint64 `json:"needless_look_ups,omitempty"` // of these, the ones that found nothing
}

// Durability says what an acknowledged key survives.
type Durability string

// Classes of durability. Rates are comparable within a class.
const (
	Memory Durability = "memory" // nothing
	Clean  Durability = "clean"  // a clean stop
	Kill   Durability = "kill"   // kill -9
	Power  Durability = "power"  // loss of power
)

// A Candidate is something that can be opened as a Target.
type Candidate struct {
	Name  string     `json:"name"`
	About string     `json:"about"` // options and calls used, one line
	Class Durability `json:"class"`
	// Approximate candidates may call a fresh key a duplicate.
	Approximate bool `json:"approximate,omitempty"`
	// Expires: the window follows Setup.Now, so that keys older than it are
	// fresh again. Others remember everything for as long as a run lasts.
	Expires bool `json:"expires,omitempty"`
	// Embedded: the data lie in Setup.Dir and no other process is involved, so
	// it can be killed and opened again.
	Embedded bool `json:"embedded,omitempty"`
	// Journal is a pattern (path/filepath.Match) of the names of preallocated
	// journal files, whose bytes are reported apart: they don't grow with keys.
	Journal string `json:"-"`
	// Modules that do the work, for the report's list of versions.
	Modules []string `json:"modules,omitempty"`
	// Open starts the target. An error that wraps ErrNotAvailable says that
	// this machine lacks something.
	Open func(ctx context.Context, s Setup) (Target, error) `json:"-"`
}

// Setup is what a candidate is told when it is opened.
type Setup struct {
	Dir      string           // exists; data of an earlier opening may lie in it
	Keys     uint64           // different keys expected within a window
	KeyBytes int              // usual length of a key; 16 for UUID texts, as Options.KeyBytes says
	Window   time.Duration    // how long a key is to be remembered, by Now
	Now      func() time.Time // the workload's clock
	Callers  int              // goroutines that will call at once
	MaxBatch int              // keys in the largest call
}

// ErrNotAvailable: the machine lacks what the candidate needs, such as a
// server's program. The candidate is reported as not measured.
var ErrNotAvailable = errors.New("bench: not available on this machine")
