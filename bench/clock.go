package bench

import (
	"math"
	"sync"
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
//
// What a goroutine may expect of a key depends on the clock when it chose the
// key, and the answer on the clock when it is given. Where the window moves
// during a run, begin therefore holds those back that would run more than
// ahead messages away from a goroutine that was preempted in between.
type clock struct {
	messages atomic.Uint64 // all that were answered, of every goroutine
	ahead    uint64        // 0: no bound

	mu struct {
		sync.Mutex
		moved *sync.Cond // an entry of began changed
		began []uint64   // the clock when a goroutine began its round; idle otherwise
	}
}

const idle = math.MaxUint64

func newClock(callers int, ahead uint64) *clock {
	c := &clock{ahead: ahead}
	c.mu.moved = sync.NewCond(&c.mu)
	c.mu.began = make([]uint64, callers)
	for i := range c.mu.began {
		c.mu.began[i] = idle
	}
	return c
}

// begin starts a round of goroutine id, as soon as no other one is too far
// behind. The one furthest behind is in a round and never waits, so all get on.
func (c *clock) begin(id int) {
	if c.ahead == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.tooFarLocked() {
		c.mu.moved.Wait()
	}
	c.mu.began[id] = c.messages.Load()
}

func (c *clock) tooFarLocked() bool {
	now := c.messages.Load()
	for _, began := range c.mu.began {
		if began != idle && now-began > c.ahead {
			return true
		}
	}
	return false
}

// end finishes a round in which n messages were answered.
func (c *clock) end(id int, n uint64) {
	c.messages.Add(n)
	if c.ahead == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.began[id] = idle
	c.mu.moved.Broadcast()
}

func (c *clock) now() time.Time { return clockStart.Add(time.Duration(c.messages.Load()) * tick) }

// windowOf turns a window in messages into one in time.
func windowOf(messages uint64) time.Duration { return time.Duration(messages) * tick }
