package engine

import (
	"context"
	"errors"
	"math"

	"github.com/firstseen/firstseen/persist/journal"
)

// rotate brings the window up to now: it begins generations whose time has come
// and takes those out of all answers in which every key is older than the
// window (I4). It is called by whoever reads the time first; the disk follows in
// the background.
//
// The room for its frames is set aside before the window is locked: a flush, which
// gives room back, looks at the window.
func (e *Engine) rotate(ctx context.Context, now int64) error {
	room := e.rotationSpace()
	if err := e.reserve(ctx, room); err != nil {
		return err
	}
	return e.rotateIn(room, now)
}

// tryRotate is rotate for the maintenance, which must not wait for room: it is who
// makes it.
func (e *Engine) tryRotate(now int64) error {
	room := e.rotationSpace()
	err := e.journal.Reserve(canceled, room)
	switch {
	case err == nil:
		return e.rotateIn(room, now)
	case errors.Is(err, context.Canceled):
		e.roomWanted.Store(true)
		return nil
	}
	return err
}

// rotationSpace is the most that a rotation takes in the journal: at most a window's
// generations begin at once, see nextGeneration.
func (e *Engine) rotationSpace() int { return journal.RotationSpace(e.opts.Generations + 1) }

// rotateIn is rotate with room set aside.
func (e *Engine) rotateIn(room int, now int64) error {
	e.window.Lock()
	defer e.window.Unlock()
	for room > 0 {
		g, end, due := e.nextGeneration(now)
		if !due {
			break
		}
		if err := e.rotateTo(g, end); err != nil {
			return err
		}
		room -= journal.RotationSpace(1)
	}
	e.journal.Unreserve(room)
	e.retireLocked(now)
	e.maintainer.wake()
	return nil
}

// rotateTo logs a generation's beginning and begins it.
func (e *Engine) rotateTo(g generation, end int64) error {
	defer e.phase("rotation")()
	if _, err := e.journal.Append(journal.Rotation(g.number, g.start, end)); err != nil {
		return err
	}
	e.beginGeneration(g, end)
	return nil
}

// nextGeneration returns the generation that is due at now and the end of the
// live one, or sets when one will be due.
func (e *Engine) nextGeneration(now int64) (g generation, end int64, due bool) {
	live := e.window.generations[len(e.window.generations)-1]
	span, window := int64(e.opts.span()), int64(e.opts.Window)
	at := generationEnd(e.window.generations, span, window, int64(e.opts.Generations))
	if now < at {
		e.rotateAt.Store(at)
		return generation{}, 0, false
	}
	g = generation{number: live.number + 1, start: at}
	if at+window <= now {
		// Everything is older than the window: skip the empty generations.
		g.start = now - (now-at)%span
	}
	return g, at, true
}

// generationEnd is when the live one of the generations ends.
func generationEnd(gs []generation, span, window, slots int64) int64 {
	first, live := gs[0], gs[len(gs)-1]
	at := live.start + span
	// The filter's slot is free once its generation is older than the window.
	// It always is in time, but after the window was made longer: then the live
	// generation lasts longer too.
	if first.number+uint64(slots) == live.number+1 {
		at = max(at, first.end+window)
	}
	return at
}

// beginGeneration makes g the live one; the one before it ended at end. The
// generation that had its slot is out of the window by now.
func (e *Engine) beginGeneration(g generation, end int64) {
	gs := e.window.generations
	gs[len(gs)-1].end = end
	e.window.generations = append(gs, g)
	e.window.rotations++
	e.retireLocked(g.start)
	e.set.Rotate(g.number)
}

// retireLocked drops the generations that ended a window before now.
func (e *Engine) retireLocked(now int64) {
	gs := e.window.generations
	n := 0
	for n < len(gs)-1 && gs[n].end+int64(e.opts.Window) <= now {
		n++
	}
	if n > 0 {
		e.dropOldestLocked(n)
	}
}

// dropOldestLocked takes the n oldest generations out of all answers.
func (e *Engine) dropOldestLocked(n int) {
	gs := e.window.generations
	e.set.Retire(gs[n].number)
	e.window.retired += uint64(n)
	e.window.generations = append([]generation(nil), gs[n:]...)
}

// heldGenerations returns the generations of the window, oldest first.
func (e *Engine) heldGenerations() []generation {
	e.window.Lock()
	defer e.window.Unlock()
	return append([]generation(nil), e.window.generations...)
}

// isHeld reports whether a generation is still in the window.
func (e *Engine) isHeld(number uint64) bool { return number >= e.set.Oldest() }

// held is the age up to which every marked key is remembered.
func held(gs []generation, now int64) int64 {
	if len(gs) == 0 {
		return math.MaxInt64
	}
	return now - gs[0].start
}
