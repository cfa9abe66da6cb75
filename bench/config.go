package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Config says what one run measures. Candidate is required; the zero value of
// every other field is usable.
type Config struct {
	Candidate Candidate
	Workload  Workload
	Keys      uint64 // messages to send; default 1,000,000
	Window    uint64 // messages that a window spans; default Keys. The clock moves 1 µs per message
	Batch     int    // keys per call; default 1,000
	Callers   int    // goroutines that call; default 1
	Seed      uint64 // the same seed gives the same messages; default 0, which is one too
	Dir       string // where the target's directory is made; default the system's temporary one
	// MaxTime ends the sending early, so that a slow target doesn't take all
	// day; the result says so (Truncated). 0 means no limit.
	MaxTime time.Duration
	// SampleEvery is the distance of the samples over time. Default 100 ms.
	SampleEvery time.Duration
	// Reopen measures the time to open after Close, of embedded candidates that
	// remember more than memory does.
	Reopen bool
	// Kill, when set, measures the time to open after kill -9 as well. It must
	// call Fill with the given Config in another process, kill it with SIGKILL
	// when Fill has returned, and wait for its end.
	Kill func(ctx context.Context, c Config) error
	// Progress, when set, is told the messages answered so far, from another
	// goroutine, about ten times per second.
	Progress func(done, total uint64)
}

const (
	defaultKeys  = 1_000_000
	defaultBatch = 1_000
	maxBatch     = 1_000_000
	maxCallers   = 4096
)

func (c Config) withDefaults() (Config, error) {
	var problems []error
	if c.Candidate.Open == nil {
		problems = append(problems, errors.New("no Candidate"))
	}
	c.Workload = c.Workload.withDefaults()
	if err := c.Workload.check(); err != nil {
		problems = append(problems, err)
	}
	c.Keys = orDefault(c.Keys, defaultKeys)
	c.Window = orDefault(c.Window, c.Keys)
	c.Batch = orDefault(c.Batch, defaultBatch)
	c.Callers = orDefault(c.Callers, 1)
	c.SampleEvery = orDefault(c.SampleEvery, 100*time.Millisecond)
	if c.Batch < 0 || c.Batch > maxBatch {
		problems = append(problems, fmt.Errorf("Batch is %d, it must be from 1 to %d", c.Batch, maxBatch))
	}
	if c.Callers < 0 || c.Callers > maxCallers {
		problems = append(problems, fmt.Errorf("Callers is %d, it must be from 1 to %d", c.Callers, maxCallers))
	}
	if c.SampleEvery < 0 || c.MaxTime < 0 {
		problems = append(problems, errors.New("SampleEvery and MaxTime must not be negative"))
	}
	if c.Window < c.Keys {
		if c.Workload.Spread == Zipf {
			// A rank that comes again after a window is neither surely known nor
			// surely forgotten.
			problems = append(problems, errors.New("Zipf needs a Window of at least Keys"))
		}
		if least := 100 * uint64(c.Callers) * uint64(max(c.Batch, roundKeys)); c.Window < least {
			problems = append(problems, fmt.Errorf("Window is %d messages, with these calls it must be at least %d", c.Window, least))
		}
	}
	if c.Workload.needsExpiry() && c.Candidate.Open != nil && !c.Candidate.Expires {
		problems = append(problems, fmt.Errorf("%s doesn't forget by the workload's clock", c.Candidate.Name))
	}
	if len(problems) > 0 {
		return c, fmt.Errorf("bench: bad config: %w", errors.Join(problems...))
	}
	return c, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
