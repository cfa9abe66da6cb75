package engine

import (
	"context"
	"math"
)

// rotate brings the window up to now: it begins generations whose time has come
// and takes those out of all answers in which every key is older than the
// window (I4). It is called by whoever reads the time first; the disk follows in
// the background.
func (e *Engine) rotate(ctx context.Context, now int64) error {
	e.window.Lock()
	defer e.window.Unlock()
	for {
		g, ok := e.nextGeneration(now)
		if !ok {
			break
		}
		if err := e.rotateFrame(ctx, g); err != nil {
			return err
		}
		e.beginGeneration(g)
	}
	e.retireLocked(now)
	wake(e.kick)
	return nil
}

// nextGeneration returns the generation that is due at now and sets when the
// one after it will be.
func (e *Engine) nextGeneration(now int64) (g generation, due bool) {
	live := &e.window.generations[len(e.window.generations)-1]
	span, window := int64(e.opts.span()), int64(e.opts.Window)
	at := live.start + span
	// The filter's slot is free once its generation is older than the window.
	// It always is in time, but after the window was made longer: then the live
	// generation lasts longer too.
	if first := e.window.generations[0]; first.number+uint64(e.opts.Generations) == live.number+1 {
		at = max(at, first.end+window)
	}
	if now < at {
		e.rotateAt.Store(at)
		return generation{}, false
	}
	g = generation{number: live.number + 1, start: at}
	if at+window <= now {
		// Everything is older than the window: skip the empty generations.
		g.start = now - (now-at)%span
	}
	live.end = at
	return g, true
}

// beginGeneration makes g the live one. The generation that had its slot is out
// of the window by now.
func (e *Engine) beginGeneration(g generation) {
	gs := e.window.generations
	if last := &gs[len(gs)-1]; last.end == 0 {
		last.end = g.start // a replay finds the end in the next one's start
	}
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
	var held uint8
	for _, g := range gs[n:] {
		held |= 1 << e.set.Slot(g.number)
	}
	e.set.Retire(held, gs[n-1].number)
	e.window.retired += uint64(n)
	e.window.generations = append([]generation(nil), gs[n:]...)
}

// heldGenerations returns the generations of the window, oldest first.
func (e *Engine) heldGenerations() []generation {
	e.window.Lock()
	defer e.window.Unlock()
	return append([]generation(nil), e.window.generations...)
}

func (e *Engine) isHeld(number uint64) bool {
	e.window.Lock()
	defer e.window.Unlock()
	return number >= e.window.generations[0].number
}

// held is the age up to which every marked key is remembered.
func held(gs []generation, now int64) int64 {
	if len(gs) == 0 {
		return math.MaxInt64
	}
	return now - gs[0].start
}
