package engine

import (
	"context"
	"errors"
	"time"
)

// An Inspection tells what a directory holds, without opening it for use.
type Inspection struct {
	Dir           string            `json:"dir"`
	FormatVersion uint32            `json:"format_version"`
	Created       time.Time         `json:"created"`
	Mode          string            `json:"mode"`
	UntrustedKeys bool              `json:"untrusted_keys"`
	Shards        int               `json:"shards"`
	Window        time.Duration     `json:"window_ns"`
	Span          time.Duration     `json:"span_ns"`
	Held          time.Duration     `json:"held_ns"`
	Clock         time.Time         `json:"clock"`
	Clean         bool              `json:"clean"`
	Keys          uint64            `json:"keys"`  // in runs and in the journal, replays counted twice
	Bytes         int64             `json:"bytes"` // of the whole directory, as allocated on disk
	Generations   []GenerationStats `json:"generations"`
	Journal       JournalStats      `json:"journal"`
	JournalKeys   uint64            `json:"journal_keys"` // marks that a replay would bring
}

// Damage is one thing that Verify found wrong.
type Damage struct {
	File       string    `json:"file"`
	Offset     int64     `json:"offset"` // -1 where there is none
	Generation uint64    `json:"generation,omitempty"`
	Start      time.Time `json:"start"` // span of the window that is affected
	End        time.Time `json:"end"`
	Detail     string    `json:"detail"`
	Fatal      bool      `json:"fatal"` // false: a cache that is rebuilt at the next opening
}

// Verification is the sum of a Verify.
type Verification struct {
	Files   int      `json:"files"`
	Runs    int      `json:"runs"`
	Keys    uint64   `json:"keys"`
	Bytes   int64    `json:"bytes"`
	Damages []Damage `json:"damages"`
}

// Inspect reads the manifest and the journal of dir and changes nothing. The
// directory must not be in use (ErrLocked).
func Inspect(ctx context.Context, dir string) (Inspection, error) {
	return Inspection{}, errors.ErrUnsupported
}

// Verify reads everything in dir and lists all damage; it changes nothing.
// progress, when not nil, is told the bytes read so far and in all.
func Verify(ctx context.Context, dir string, progress func(done, total int64)) (Verification, error) {
	return Verification{}, errors.ErrUnsupported
}
