package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/internal/sabotage"
)

// A clock is the engine's time in ns since 1970. It never goes back (I4) and it
// flows with the time that passes rather than with what the wall says: within a
// process by the monotonic clock where Now brings one, so that a step of the
// wall, in either direction, forgets nothing; from opening to opening by what the
// wall has moved on since.
type clock struct {
	now  func() time.Time
	last atomic.Int64 // newest time given out
	off  atomic.Int64 // to add to what passed since base
	base time.Time
	mu   sync.Mutex // serialises steps back
}

// start sets the clock.
func (c *clock) start(now func() time.Time, t int64) {
	c.now, c.base = now, now()
	c.off.Store(t)
	c.last.Store(t)
}

// read returns the time.
func (c *clock) read() int64 {
	off := c.off.Load() // before the source is asked: one that goes back raises it
	t := off + int64(c.now().Sub(c.base))
	last := c.last.Load()
	switch {
	case sabotage.On(sabotage.FollowWall):
		return c.now().UnixNano()
	case t > last:
		c.last.CompareAndSwap(last, t) // losing to another reader is as good
		return t
	case t == last:
		return t
	}
	return c.back()
}

// back handles a source that went back: time stands still for this reading and
// flows on from there.
func (c *clock) back() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The source is asked again, after the newest time was read: a reader that was
	// only overtaken by others, however long ago it asked, is not behind it now.
	last := c.last.Load()
	passed := int64(c.now().Sub(c.base))
	// Other sources than the monotonic clock jitter; moving the offset for that
	// would make time run fast.
	if t := passed + c.off.Load(); t < last-int64(time.Second) {
		c.off.Add(last - t)
	}
	return last
}
