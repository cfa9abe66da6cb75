package sqlstore

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"
)

// Options configure a store. Window is required; every other field has a safe
// default. All processes that share a table should use the same options.
type Options struct {
	// Window is how long a key is remembered after its commit. Make it longer
	// than the longest time after which the broker may deliver a message again.
	Window time.Duration
	// Lease is how long a claim is held before others may have the key. It
	// should be longer than a handler usually takes. Default: one minute.
	Lease time.Duration
	// Table is the name of the table, made of letters, digits and underscores;
	// a schema or database may stand before it, separated by a dot. Default:
	// firstseen_keys.
	Table string
	// MaxResult is the length in bytes of the longest result that is kept with a
	// mark. Results lie in the key's row, so large ones slow the table down.
	// Default: 64 KiB. Negative: none is kept.
	MaxResult int
	// SweepEvery is the pause between two searches for expired rows. Only one
	// process sweeps at a time. Default: one minute. Negative: no goroutine is
	// started, and Sweep has to be called.
	SweepEvery time.Duration
	// SweepChunk is the number of rows that one statement of the sweeper deletes
	// at most. More rows are swept faster, and claims wait longer for the disk
	// meanwhile. Default: 500.
	SweepChunk int
	// Logger hears about failed sweeps. Default: slog.Default().
	Logger *slog.Logger
}

const defaultTable = "firstseen_keys"

// maxDuration keeps sums of a lease and a window far from the end of the
// databases' calendars and of 64 bits.
const maxDuration = 100 * 365 * 24 * time.Hour

var tableName = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,47}\.)?[A-Za-z_][A-Za-z0-9_]{0,47}$`)

// withDefaults fills in what is zero, and names every problem in one error.
func (o Options) withDefaults() (Options, error) {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if o.Window <= 0 || o.Window > maxDuration {
		bad("Window is %v, it must be positive and at most %v", o.Window, maxDuration)
	}
	o.Lease = orDefault(o.Lease, time.Minute)
	if o.Lease < time.Microsecond || o.Lease > maxDuration {
		bad("Lease is %v, it must be between a microsecond and %v", o.Lease, maxDuration)
	}
	o.Table = orDefault(o.Table, defaultTable)
	if !tableName.MatchString(o.Table) {
		bad("Table is %q, allowed are up to 48 letters, digits and underscores, and the same and a dot before it", o.Table)
	}
	o.MaxResult = orDefault(o.MaxResult, 64<<10)
	o.SweepEvery = orDefault(o.SweepEvery, time.Minute)
	o.SweepChunk = orDefault(o.SweepChunk, 500)
	if o.SweepChunk < 1 || o.SweepChunk > maxChunk {
		bad("SweepChunk is %d, allowed are 1 to %d", o.SweepChunk, maxChunk)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, errors.Join(problems...)
}

func orDefault[T comparable](v, byDefault T) T {
	var zero T
	if v == zero {
		return byDefault
	}
	return v
}
