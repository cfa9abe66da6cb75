package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// LoadStats says what Load did.
type LoadStats struct {
	Batches uint64 `json:"batches"`
	Keys    uint64 `json:"keys"`
	Marked  uint64 `json:"marked"` // keys that the directory did not know
}

// Load marks keys at the times at which they were marked elsewhere, so that the
// directory's window becomes what it would have been: a key is forgotten by its
// own time, and keys older than the window are gone when Load returns. The
// directory is made where there is none; one that exists goes on from its newest
// time, and older times count as that one. Times in the future count as now.
//
// Each pair is a time and the keys marked then; times should not go back. The
// keys may be reused by the source once it is asked for the next pair. Load is
// not atomic: after an error, or when the source ends early, what was loaded so
// far is there and is right, and loading the same pairs again changes nothing.
//
// It opens the directory, and closes it at the end: everything loaded is durable
// when Load returns without an error, whatever Options.Sync says. Options.Now is
// the clock for "now".
func Load(ctx context.Context, dir string, o Options, marks iter.Seq2[time.Time, [][]byte]) (s LoadStats, err error) {
	wall := o.Now
	if wall == nil {
		wall = time.Now
	}
	next, stop := iter.Pull2(marks)
	defer stop()
	at, keys, more := next()
	clock := loadClock{wall: wall}
	clock.set(at)
	// Nothing to load: the directory is opened at the present, as any other would be.
	if !more {
		clock.set(wall())
	}
	// Close syncs everything, and nobody gets an answer before: a sync per call would only take
	// time.
	o.Now, o.Sync = clock.now, SyncNone
	e, err := openWith(dir, config{Options: o, loading: &clock})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	var verdicts []dedup.Verdict
	for more {
		clock.set(at)
		if verdicts, err = e.AdmitBatch(ctx, verdicts[:0], keys); err != nil {
			return s, fmt.Errorf("engine: load: after %d keys: %w", s.Keys, err)
		}
		s.Batches++
		s.Keys += uint64(len(keys))
		for _, v := range verdicts {
			if v == dedup.Fresh {
				s.Marked++
			}
		}
		at, keys, more = next()
	}
	return s, e.catchUp(&clock)
}

// catchUp lets the engine's clock reach the present, so that what is out of the
// window is gone, and what the next opening takes for time that passed is just
// that.
func (e *Engine) catchUp(clock *loadClock) error {
	clock.set(clock.wall())
	c, err := e.begin(context.Background(), true)
	if err != nil {
		return fmt.Errorf("engine: load: %w", err)
	}
	return e.end(c, 0, nil)
}

// A loadClock stands at the time of the newest pair, and not before the newest time of the
// directory: pairs that come again must not move the window on by the time between them.
type loadClock struct {
	wall func() time.Time
	// ns since 1970; only grows. The load's goroutine sets it, the engine's goroutines read it.
	ns atomic.Int64
}

func (c *loadClock) set(t time.Time) {
	if now := c.wall(); t.After(now) {
		t = now
	}
	for {
		last := c.ns.Load()
		if t.UnixNano() <= last || c.ns.CompareAndSwap(last, t.UnixNano()) {
			return
		}
	}
}

func (c *loadClock) now() time.Time { return time.Unix(0, c.ns.Load()) }
