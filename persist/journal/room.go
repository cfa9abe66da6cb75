package journal

import (
	"context"
	"fmt"
)

// room counts the ring's bytes. It is guarded by Journal.mu.
//
// The live part of the log is [tail, end); reserved bytes will follow it. A frame
// that does not fit before the ring's end leaves a pad there that nobody
// reserved. Of any size bytes of the log at most one place is such an end, and a
// pad is shorter than the frame behind it, so slack for the largest frame covers
// it: end + reserved + slack <= tail + size at every reservation means
// end <= tail + size at every append.
type room struct {
	tail     Pos // no frame below it will be replayed
	released Pos // what Release asked for; tail follows once it is written
	// reserved is what Reserve has set aside, in bytes. Append and Unreserve take it back.
	reserved uint64
	// slack is the largest reservation so far, at most the largest frame. It never shrinks:
	// nobody keeps track of which reservations are still open.
	slack   uint64
	waiting []*roomWaiter // in the order of their calls
	waits   uint64        // reservations that had to wait
}

// roomWaiter is one Reserve that waits its turn.
type roomWaiter struct {
	bytes uint64
	// granted is closed, under mu, when bytes were reserved, or with err set.
	granted chan struct{}
	err     error // written before granted is closed
}

// Reserve waits until the ring has room for frames that take that many bytes by
// FrameSpace, and sets it aside for the Appends that follow. What is not appended
// must be given back with Unreserve. Room is given in the order of the calls.
//
// The wait ends with ctx's error, with dedup.ErrClosed, or with an error that
// wraps dedup.ErrFailed. More than half of the ring is an error at once.
//
// No lock may be held that a flush needs: a flush is what gives room back.
func (j *Journal) Reserve(ctx context.Context, bytes int) error {
	j.mu.Lock()
	if err := j.usableLocked(); err != nil {
		j.mu.Unlock()
		return err
	}
	r, n := &j.mu.room, uint64(max(bytes, 0))
	if n > j.allocatedAtOpen/2 {
		j.mu.Unlock()
		return fmt.Errorf("journal: reserving %d bytes, a ring of %d takes %d at once", n, j.allocatedAtOpen, j.allocatedAtOpen/2)
	}
	if slack := min(n, j.largest); slack > r.slack {
		r.slack = slack
	}
	if len(r.waiting) == 0 && j.fitsLocked(n) {
		r.reserved += n
		j.mu.Unlock()
		return nil
	}
	w := &roomWaiter{bytes: n, granted: make(chan struct{})}
	r.waiting = append(r.waiting, w)
	r.waits++
	j.mu.Unlock()
	return j.reserveSlow(ctx, w)
}

// reserveSlow waits for w's turn. Its end and ctx's may come together:
//
//  1. ctx ends. Before this call has mu, Release lets w in and closes granted.
//  2. The call sees that under mu and gives the bytes back. Nobody else would: its caller gets
//     an error and makes no Append.
func (j *Journal) reserveSlow(ctx context.Context, w *roomWaiter) error {
	select {
	case <-w.granted:
		return w.err
	case <-ctx.Done():
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	select {
	case <-w.granted: // granted just before: give it back
		if w.err == nil {
			j.mu.room.reserved -= w.bytes
		}
	default:
		r := &j.mu.room
		for i := range r.waiting {
			if r.waiting[i] == w {
				r.waiting = append(r.waiting[:i], r.waiting[i+1:]...)
				break
			}
		}
	}
	// Either way those behind it may fit now.
	j.grantLocked()
	return ctx.Err()
}

// Unreserve gives back room that Reserve set aside and no frame was appended to.
func (j *Journal) Unreserve(bytes int) {
	if bytes <= 0 {
		return
	}
	j.mu.Lock()
	j.mu.room.reserved -= min(uint64(bytes), j.mu.room.reserved)
	j.grantLocked()
	j.mu.Unlock()
}

// Release tells that no frame below pos will ever be replayed, so that their room
// may be used again. Make sure first that what Replay is given after a crash is
// at least pos: a manifest on disk has to say so, or a replay would meet frames of the next
// lap. A lower position than before changes nothing.
func (j *Journal) Release(pos Pos) {
	j.mu.Lock()
	j.mu.room.released = max(j.mu.room.released, min(pos, j.mu.end))
	j.advanceLocked()
	j.mu.Unlock()
}

// advanceLocked moves the tail up to what was released and written. A batch that is not
// written yet keeps its room, so that no batch spans a whole lap.
func (j *Journal) advanceLocked() {
	if to := min(j.mu.room.released, j.written.Load()); to > j.mu.room.tail {
		j.mu.room.tail = to
		j.grantLocked()
	}
}

// fitsLocked reports whether n more bytes can be reserved. Distances between positions count
// what a lap has skipped where the file ends, so the two cases measure against different ends.
func (j *Journal) fitsLocked(n uint64) bool {
	r := &j.mu.room
	taken := j.mu.end - r.tail + r.reserved + n + r.slack
	if r.tail < j.mu.lap {
		// The log has begun a new lap and the tail is in the last one. What is free lies
		// before the tail, and what a growth has added lies behind it.
		return taken <= j.size
	}
	// All of the log is in this lap, so nothing is skipped within it, and the ring is what the
	// file has.
	return taken <= j.lapEndLocked()
}

// usedLocked is what live frames and reservations take of the ring. Where they reach back
// into the last lap, the positions that it skipped at its end are no bytes of the ring.
func (j *Journal) usedLocked() uint64 {
	used := j.mu.end - j.mu.room.tail + j.mu.room.reserved
	if j.mu.room.tail < j.mu.lap {
		used -= j.mu.hole
	}
	return used
}

// Back returns the position that lies so many bytes of the ring before the log's end, or
// the log's tail if that is nearer. It is for whoever decides which frames have to be flushed
// so that their room comes back.
func (j *Journal) Back(bytes int64) Pos {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, tail := uint64(max(0, bytes)), j.mu.room.tail
	if n > j.mu.end-j.mu.lap {
		n += j.mu.hole
	}
	return j.mu.end - min(n, j.mu.end-tail)
}

// grantLocked serves those who wait, in their order: a large reservation would starve if
// small ones were let past it.
func (j *Journal) grantLocked() {
	r := &j.mu.room
	for len(r.waiting) > 0 && j.fitsLocked(r.waiting[0].bytes) {
		r.reserved += r.waiting[0].bytes
		close(r.waiting[0].granted)
		r.waiting = append(r.waiting[:0], r.waiting[1:]...)
	}
}

// fail ends all waits. Journal.mu is held.
func (r *room) fail(err error) {
	for _, w := range r.waiting {
		w.err = err
		close(w.granted)
	}
	r.waiting = nil
}
