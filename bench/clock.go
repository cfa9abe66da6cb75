package bench

import (
	"sync/atomic"
	"time"
)

// tick is the time that one message takes on the workload's clock: a stream of
// a million a second.
const tick = time.Microsecond

// clockStart is where every workload's clock begins. It is fixed, so that a
// directory can be opened again by another process at a later time.
var clockStart = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// A clock counts answered messages as time.
type clock struct {
	messages atomic.Uint64 // all that were answered, of every goroutine
}

func (c *clock) now() time.Time { return clockStart.Add(time.Duration(c.messages.Load()) * tick) }

// windowOf turns a window in messages into one in time.
func windowOf(messages uint64) time.Duration { return time.Duration(messages) * tick }
