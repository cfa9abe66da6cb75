package engine

import (
	"errors"
	"sync"
	"time"

	"github.com/firstseen/firstseen/persist"
)

// scrubEvery is how often the worker, when idle, checks one run or looks for
// something to merge. With runs of a few MB that is a bounded rate of reading.
const scrubEvery = 250 * time.Millisecond

// A scrubber goes round the runs of sealed generations, one after the other.
type scrubber struct {
	sync.Mutex            // guards stats alone, which Stats reads
	stats      ScrubStats // written by the worker

	// The worker's own: where it goes on. Runs are taken by their numbers, which only grow, so a
	// run that comes or goes meanwhile makes it leave out no other.
	shard int
	run   uint64 // last one checked in shard
}

// scrubOne verifies the next run (I5). It reports damage in Stats and to the logger, and
// changes nothing: a look-up that meets the damaged block returns an error by itself.
func (e *Engine) scrubOne() {
	s := &e.scrub
	live := e.window.live()
	for range e.opts.Shards {
		list := e.store.list(s.shard)
		var next *runEntry
		for i := range list {
			if id := list[i].run.Meta().ID; list[i].generation != live && id > s.run &&
				(next == nil || id < next.run.Meta().ID) {
				next = &list[i]
			}
		}
		if next != nil {
			meta := next.run.Meta()
			s.run = meta.ID
			err := next.run.Verify()
			// It left the window or was merged, which is no damage.
			if errors.Is(err, persist.ErrRetired) {
				return
			}
			s.Lock()
			s.stats.Bytes += uint64(meta.Bytes())
			if err != nil {
				s.stats.Errors++
				s.stats.LastErr = err.Error()
				e.opts.Logger.Error("scrubbing found damage", "generation", next.generation, "error", err)
			}
			s.Unlock()
			return
		}
		s.run = 0
		if s.shard = (s.shard + 1) % e.opts.Shards; s.shard == 0 {
			s.Lock()
			s.stats.Passes++
			s.stats.LastPass = time.Now()
			s.Unlock()
		}
	}
}
