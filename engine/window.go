package engine

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/shards"
)

// A generation is a piece of the window, by engine time.
type generation struct {
	number     uint64
	start, end int64 // end 0: live
}

// A window is the list of generations: it knows when the next one is due and which ones are
// older than the window. Calls do not look at it but at the set, which is told of both with mu
// held, so that the two change together.
type window struct {
	length, span int64 // of the whole window, and of a generation
	slots        int   // as many generations as the filter can hold
	set          *shards.Set

	// dueAt is the engine time at which the live generation ends. Every call compares it with
	// its time, so it is read without mu: a call that finds it over takes mu and asks next.
	dueAt atomic.Int64

	mu sync.Mutex
	// generations are oldest first, the last one is live. Guarded by mu; Open has them to itself.
	generations []generation
	rotations   uint64 // since Open; guarded by mu
	retired     uint64 // likewise
}

// isDue reports whether the live generation may be over at now.
func (w *window) isDue(now int64) bool { return now >= w.dueAt.Load() }

// next returns the generation that is due at now and the end of the live one, or notes when
// one will be due. mu is held.
func (w *window) next(now int64) (g generation, end int64, due bool) {
	live := w.generations[len(w.generations)-1]
	at := generationEnd(w.generations, w.span, w.length, int64(w.slots))
	if now < at {
		w.dueAt.Store(at)
		return generation{}, 0, false
	}
	g = generation{number: live.number + 1, start: at}
	if at+w.length <= now {
		// Everything is older than the window: skip the empty generations.
		g.start = now - (now-at)%w.span
	}
	return g, at, true
}

// generationEnd is when the live one of the generations ends.
func generationEnd(gs []generation, span, window, slots int64) int64 {
	first, live := gs[0], gs[len(gs)-1]
	at := live.start + span
	// The next generation needs a slot, which is free once the first one is older than the
	// window. It always is in time, unless an opening has made the window longer: then the
	// live generation lasts longer too.
	if first.number+uint64(slots) == live.number+1 {
		at = max(at, first.end+window)
	}
	return at
}

// begin makes g the live generation; the one before it ended at end. The generations before
// the window are retired first, so that a slot is free. Its frame is in the journal. mu is held.
func (w *window) begin(g generation, end int64) {
	w.generations[len(w.generations)-1].end = end
	w.generations = append(w.generations, g)
	w.rotations++
	w.retire(g.start)
	w.set.Rotate(g.number)
}

// retire drops the generations in which every key is older than the window at now (I4): a
// generation's youngest key is as old as its end. The live one stays, whatever its age, since it
// takes the marks. mu is held.
func (w *window) retire(now int64) {
	n := 0
	for n < len(w.generations)-1 && w.generations[n].end+w.length <= now {
		n++
	}
	if n > 0 {
		w.dropOldest(n)
	}
}

// dropOldest takes the n oldest generations out of all answers. mu is held.
func (w *window) dropOldest(n int) {
	w.set.Retire(w.generations[n].number)
	w.retired += uint64(n)
	w.generations = append([]generation(nil), w.generations[n:]...)
}

// held returns the generations of the window, oldest first.
func (w *window) held() []generation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]generation(nil), w.generations...)
}

// live returns the number of the live generation.
func (w *window) live() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.generations[len(w.generations)-1].number
}

// holds reports whether a generation is still in the window. It takes no lock, so it may be asked
// with a shard locked. The answer may be over at once. Whoever installs runs after a yes relies on
// afterRotation, which takes them out again: see syncAndPublish.
func (w *window) holds(number uint64) bool { return number >= w.set.Oldest() }

// turns returns how many generations began and left since Open.
func (w *window) turns() (rotations, retired uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rotations, w.retired
}

// reach is the age up to which every marked key is remembered.
func reach(gs []generation, now int64) int64 {
	if len(gs) == 0 {
		return math.MaxInt64
	}
	return now - gs[0].start
}
