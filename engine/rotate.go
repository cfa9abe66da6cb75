package engine

import (
	"context"
	"errors"

	"github.com/firstseen/firstseen/persist/journal"
)

// rotate brings the window up to now: it begins generations whose time has come, and takes
// those out of all answers in which every key is older than the window (I4). The first call
// that reads a time past the live generation's end calls it; the disk follows in the
// background (afterRotation).
//
// The room for its frames is reserved before the window is locked. With the window locked it
// could wait for ever: only a flush gives room back, and a flush looks at the window.
func (e *Engine) rotate(ctx context.Context, now int64) error {
	room := e.rotationSpace()
	if err := e.reserve(ctx, room); err != nil {
		return err
	}
	return e.rotateIn(room, now)
}

// tryRotate is rotate for the maintenance, which must not wait for room, since it is the one
// that makes it. Without room it notes that some is wanted, and its next pass tries again.
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
// generations begin at once, see window.next.
func (e *Engine) rotationSpace() int { return journal.RotationSpace(e.opts.Generations + 1) }

// rotateIn is rotate with room set aside. window.mu is held throughout, so generations begin one
// after the other, each with its frame before it. Of several callers that find a generation due
// the first begins it, and the others find that nothing is due.
func (e *Engine) rotateIn(room int, now int64) error {
	w := &e.window
	w.mu.Lock()
	defer w.mu.Unlock()
	// Where the room is used up with a generation still due the next call goes on.
	for room > 0 {
		g, end, due := w.next(now)
		if !due {
			break
		}
		if err := e.rotateTo(g, end); err != nil {
			return err
		}
		room -= journal.RotationSpace(1)
	}
	e.journal.Unreserve(room)
	w.retire(now)
	// It posts afterRotation, and clears what is to be used next.
	e.maintainer.wake()
	return nil
}

// rotateTo logs a generation's beginning and then begins it. In this order the frame lies
// before all marks of the generation, and a replay knows the generation when it meets them.
func (e *Engine) rotateTo(g generation, end int64) error {
	defer e.phase("rotation")()
	if _, err := e.journal.Append(journal.Rotation(g.number, g.start, end)); err != nil {
		return err
	}
	e.window.begin(g, end)
	return nil
}
