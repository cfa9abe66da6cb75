package redisstore

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrGap: acknowledged records are gone, so that a key which was marked may look
// fresh. See GapError.
var ErrGap = errors.New("redisstore: records were lost")

// A GapError says how a gap showed. It wraps ErrGap.
type GapError struct {
	Noticed time.Time // on this process's clock
	Detail  string
}

func (e *GapError) Error() string {
	return fmt.Sprintf("%v: %s (noticed at %s; AcceptGap goes on)", ErrGap, e.Detail, e.Noticed.Format(time.RFC3339))
}

// Unwrap returns ErrGap.
func (e *GapError) Unwrap() error { return ErrGap }

// A watch compares this Store's counters on the server with what was acknowledged.
//
// That an answer n proves a loss only when it is not above what had been acknowledged
// *before its call was sent* matters because calls overlap:
//
//  1. A and B are sent on two connections, when 7 is acknowledged.
//  2. The server counts B as 8 and A as 9.
//  3. A's answer comes first: 9 is acknowledged.
//  4. B's answer, 8, is below 9 and proves nothing: it is above 7.
type watch struct {
	// life is the time for which a counter is expected to be there. It lives
	// longer on the server; an idle Store's may end, and so may all its records.
	life time.Duration

	mu struct {
		sync.Mutex
		// epoch grows with each gap: answers to calls that were sent in an earlier one
		// may come from before the loss and would be expected of the new counters.
		epoch   uint64
		acked   []int64     // the largest answer, for each counter
		sent    []time.Time // when the call with that answer was sent
		gap     *GapError   // the last one
		open    bool        // it is not accepted
		refuses bool        // claims are refused while it is open
	}
}

func (w *watch) init(counters int, life time.Duration, refuses bool) {
	w.life = life
	w.mu.acked, w.mu.sent = make([]int64, counters), make([]time.Time, counters)
	w.mu.refuses = refuses
}

// before notes in calls, which are sent now, what is acknowledged.
func (w *watch) before(calls []*call, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range calls {
		if now.Sub(w.mu.sent[c.bucket]) > w.life {
			w.mu.acked[c.bucket] = 0
		}
		c.epoch, c.acked, c.sent = w.mu.epoch, w.mu.acked[c.bucket], now
	}
}

// after takes the answers of calls in and returns the gap that they prove, if any.
func (w *watch) after(calls []*call) *GapError {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range calls {
		if c.err != nil || c.epoch != w.mu.epoch {
			continue
		}
		if c.counter <= c.acked {
			return w.foundLocked(fmt.Sprintf("a counter of this Store stands at %d after %d was acknowledged: failover, restart, flush or eviction",
				c.counter, c.acked))
		}
		if c.counter > w.mu.acked[c.bucket] {
			w.mu.acked[c.bucket], w.mu.sent[c.bucket] = c.counter, c.sent
		}
	}
	return nil
}

// found opens a gap that showed in another way.
func (w *watch) found(detail string) *GapError {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.foundLocked(detail)
}

// foundLocked notes a gap. What other buckets lost until now belongs to it.
func (w *watch) foundLocked(detail string) *GapError {
	w.mu.epoch++
	clear(w.mu.acked)
	w.mu.gap = &GapError{Noticed: time.Now().Round(0), Detail: detail}
	w.mu.open = true
	return w.mu.gap
}

// refusal returns the gap because of which claims are refused, or nil.
func (w *watch) refusal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.open && w.mu.refuses {
		return w.mu.gap
	}
	return nil
}

func (w *watch) accept() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.open = false
}
