package policy

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// Stats counts since New. Messages in doubt are Down + Unknown, and as many are
// Refused + LetThrough.
type Stats struct {
	Down         uint64 `json:"down"`          // keys whose claim failed
	Unknown      uint64 `json:"unknown"`       // keys whose verdict is Unknown without an error
	Refused      uint64 `json:"refused"`       // keys of both kinds that were refused
	LetThrough   uint64 `json:"let_through"`   // keys of both kinds that were let through
	MarkedLate   uint64 `json:"marked_late"`   // keys let through that Commit has marked
	HandledTwice uint64 `json:"handled_twice"` // keys let through that had been marked by somebody else
	Unmarked     uint64 `json:"unmarked"`      // keys let through that Commit could not mark
	Failures     uint64 `json:"failures"`      // calls of the guard that failed, without lost leases and results
	Timeouts     uint64 `json:"timeouts"`      // of these, calls that were ended by Options.Timeout
}

type counters struct {
	down, unknown, refused, letThrough, markedLate, handledTwice, unmarked, failures, timeouts atomic.Uint64
}

// failed counts a call that failed.
func (c *counters) failed(caller context.Context, err error) {
	c.failures.Add(1)
	if errors.Is(err, context.DeadlineExceeded) && caller.Err() == nil {
		c.timeouts.Add(1)
	}
}

// Stats returns the counters. They are read one by one, so a call under way may
// be in some of them only.
func (g *Guard) Stats() Stats {
	c := &g.counters
	return Stats{
		Down: c.down.Load(), Unknown: c.unknown.Load(), Refused: c.refused.Load(), LetThrough: c.letThrough.Load(),
		MarkedLate: c.markedLate.Load(), HandledTwice: c.handledTwice.Load(), Unmarked: c.unmarked.Load(),
		Failures: c.failures.Load(), Timeouts: c.timeouts.Load(),
	}
}

// A limiter writes at most one line in each span of time. The keys of lines
// that it left out are told with the next one.
type limiter struct {
	logger *slog.Logger
	every  time.Duration
	next   atomic.Int64  // Unix nanoseconds
	silent atomic.Uint64 // keys since the last line
}

func (l *limiter) warn(ctx context.Context, msg string, keys uint64, why string) {
	now, next := time.Now().UnixNano(), l.next.Load()
	if now < next || !l.next.CompareAndSwap(next, now+int64(l.every)) {
		l.silent.Add(keys)
		return
	}
	l.logger.WarnContext(ctx, msg, "keys", keys, "keys_not_logged_before", l.silent.Swap(0), "error", why)
}
