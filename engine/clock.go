package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/internal/nanotime"
)

// A clock is the engine's time in ns since 1970. It never goes back (I4) and it
// flows with the time that passes rather than with what the wall says: within a
// process by the monotonic clock where Now brings one, so that a step of the
// wall, in either direction, forgets nothing; from opening to opening by what the
// wall has moved on since.
//
// The latter takes the wall's distance from this clock to be the manifest's still.
// After a suspend, in which the monotonic clock stands, or a step of the wall it is
// not: until the manifest tells the new one a kill would make the next opening take
// the step for time that passed. See Engine.persistStep.
type clock struct {
	// Set by start, before there are other goroutines.
	now    func() time.Time
	passed func() time.Duration // since base, by now's own monotonic part when nil

	// last is the newest time given out. It only grows, and no reader gives out less (I4).
	last atomic.Int64
	// off is what to add to the time that passed since base. It only grows; stored with mu held.
	off atomic.Int64
	// ahead is by how much the wall is ahead of this clock as the manifest on disk says. Stored
	// by store.onManifest, and by an opening: never before a kill would leave that manifest.
	ahead atomic.Int64
	base  time.Time  // set by start, as now and passed
	mu    sync.Mutex // serialises steps back
}

// stepTolerance is how much the wall may run ahead of this clock unnoticed: the
// two are disciplined apart by at most 0.05 %, so a manifest lasts some minutes.
const stepTolerance = 100 * time.Millisecond

// start sets the clock to what at makes of the wall.
func (c *clock) start(o *config, at func(wall int64) int64) error {
	c.now, c.base, c.passed = o.Now, o.Now(), nil
	wall, ok := nanotime.Of(c.base)
	if !ok {
		return nanotime.RangeError(c.base)
	}
	t := at(wall)
	if o.passed != nil {
		began := o.passed()
		c.passed = func() time.Duration { return o.passed() - began }
	}
	c.off.Store(t)
	c.last.Store(t)
	return nil
}

// ask asks the source: what passed since base, and what the wall says. One that says what
// can't be stands still.
func (c *clock) ask() (passed, wall int64) {
	now := c.now()
	wall, ok := nanotime.Of(now)
	switch {
	case !ok:
		last := c.last.Load()
		return last - c.off.Load(), last + c.ahead.Load()
	case c.passed != nil:
		return int64(c.passed()), wall
	}
	return int64(now.Sub(c.base)), wall
}

// wallOf is what the wall will say at t, a time of this clock, if the two run alike from
// now on. It is for callers, who know no other clock: this one may be hours behind the
// wall after a suspend, or ahead of one that was set back.
func (c *clock) wallOf(t int64) time.Time {
	off := c.off.Load()
	passed, wall := c.ask()
	return time.Unix(0, wall+t-max(nanotime.Add(off, passed), c.last.Load()))
}

// wall returns what the wall says.
func (c *clock) wall() int64 {
	_, wall := c.ask()
	return wall
}

// read returns the time.
func (c *clock) read() int64 {
	t, _ := c.look()
	return t
}

// look returns the time, and whether the wall is further ahead than the manifest
// tells.
func (c *clock) look() (t int64, stepped bool) {
	off := c.off.Load() // before the source is asked: one that goes back raises it
	passed, wall := c.ask()
	t = nanotime.Add(off, passed)
	last := c.last.Load()
	// Against the newest time given out: where the source went back time stands still, and the
	// wall runs away from there.
	stepped = wall-max(t, last) > c.ahead.Load()+int64(stepTolerance)
	switch {
	case t > last:
		c.last.CompareAndSwap(last, t) // losing to another reader is as good
	case t < last:
		t = c.back()
	}
	return t, stepped
}

// back handles a source that went back: time stands still for this reading and
// flows on from there.
func (c *clock) back() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The source is asked again, after the newest time was read: a reader that was
	// only overtaken by others, however long ago it asked, is not behind it now.
	last := c.last.Load()
	passed, _ := c.ask()
	// Other sources than the monotonic clock jitter; moving the offset for that
	// would make time run fast.
	if t := nanotime.Add(c.off.Load(), passed); t < last-int64(time.Second) {
		c.off.Add(last - t)
	}
	return last
}
