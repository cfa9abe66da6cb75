package engine

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
)

const (
	maintainEvery = 50 * time.Millisecond
	diskEvery     = 250 * time.Millisecond
	// refusalCheck is how often a call that waits for room looks whether the
	// engine has begun to refuse marks.
	refusalCheck = 50 * time.Millisecond
)

// A maintainer does what must happen on time and costs little: rotation, clearing, room
// in the journal, leases, the free-space guard. Its loop is one goroutine, which Open
// starts and Close ends.
type maintainer struct {
	e      *Engine
	kick   chan struct{} // wakes the loop
	noting atomic.Bool   // a goroutine of its own is at keepStep

	// The loop's own.
	promised []generation // those that afterRotation was told of last; at first those of the manifest opened
	sweptAt  int64        // by the engine's clock
	diskAt   time.Time    // by the monotonic clock: a wall that is set back must not put the guard to sleep
}

// wake has the loop look at once.
func (mt *maintainer) wake() { wake(mt.kick) }

func (mt *maintainer) loop() {
	e := mt.e
	defer e.running.Done()
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	for {
		select {
		case <-e.stop.Done():
			return
		case <-mt.kick:
		case <-tick.C:
		}
		if err := mt.pass(); err != nil && e.stop.Err() == nil {
			e.fail("beginning a generation", err)
		}
	}
}

// pass does what is due.
func (mt *maintainer) pass() error {
	e := mt.e
	now, stepped := e.clock.look()
	if stepped {
		mt.noteStep()
	}
	if e.window.isDue(now) {
		if err := e.tryRotate(now); err != nil {
			return err
		}
	}
	for e.set.Clear() && e.stop.Err() == nil {
		e.relieveJournal()
		runtime.Gosched()
	}
	mt.tellRotation()
	e.relieveJournal()
	e.watchSizes()
	if e.opts.Mode == Exact && !e.growing.Load() && e.canGrow() && e.set.Crowded() {
		e.growing.Store(true)
		e.worker.post(e.grow)
	}
	if now-mt.sweptAt > int64(e.opts.Lease) {
		// An ended lease is kept for one more: a late commit is still good.
		mt.sweptAt = now
		e.counts.expired.Add(e.set.Sweep(now - int64(e.opts.Lease)))
	}
	if time.Since(mt.diskAt) > diskEvery {
		mt.diskAt = time.Now()
		e.checkDisk()
	}
	return nil
}

// noteStep has the manifest tell of a step of the wall: a call that waits since before it
// will answer without having seen it.
func (mt *maintainer) noteStep() {
	e := mt.e
	if !mt.noting.CompareAndSwap(false, true) {
		return
	}
	e.running.Go(func() {
		defer mt.noting.Store(false)
		if err := e.keepStep(e.stop); err != nil && e.stop.Err() == nil {
			e.worker.failed(err)
		}
	})
}

// tellRotation has the worker follow up where the window is no longer what it was told.
func (mt *maintainer) tellRotation() {
	e, old := mt.e, mt.promised
	if gs := e.window.held(); gs[len(gs)-1].number != old[len(old)-1].number || gs[0].number != old[0].number {
		mt.promised = gs
		e.rotated.Store(true)
		e.worker.post(e.afterRotation)
	}
}

// promisedGenerations returns those of the manifest; replay may have rotated
// since.
func (e *Engine) promisedGenerations() (gs []generation) {
	e.store.view(func(m *persist.Manifest) {
		for _, g := range m.Generations {
			gs = append(gs, generation{g.Number, g.Start, g.End})
		}
	})
	return gs
}

// relieveJournal keeps half of the ring free: shards whose oldest unflushed key
// lies far back are flushed; without a store a snapshot takes their place.
func (e *Engine) relieveJournal() {
	s := e.journal.State()
	wanted := e.roomWanted.Swap(false)
	if s.Used < s.RingBytes/2 && !wanted {
		return
	}
	if e.opts.Mode == Approximate {
		if e.snapshotting.CompareAndSwap(false, true) {
			e.worker.post(func() error {
				defer e.snapshotting.Store(false)
				return e.snapshot(true)
			})
		}
		return
	}
	below := e.journal.Back(s.RingBytes / 3)
	if wanted {
		below = s.End // in a small ring even the newest keys stand in the way
	}
	if s.RingBytes < e.ringMost() && s.RingBytes < s.MaxRing {
		e.resize(e.growRing)
	}
	e.set.Seal(below)
	e.flusher.roomShort.Store(true)
	e.flusher.wake()
}

// phase tells a test that it begins, and that it ended by what it returns.
func (e *Engine) phase(name string) (end func()) {
	if e.opts.phase == nil {
		return func() {}
	}
	return e.opts.phase(name)
}

// afterRotation writes what a rotation changed: the manifest without retired
// generations, then their removal; without a store also the filter of the one
// just sealed. With a store the runs are as quick to rebuild it from after a
// crash, and Close writes it: it would take 3 bytes per key of the disk meanwhile.
func (e *Engine) afterRotation() error {
	if !e.rotated.Swap(false) {
		return nil
	}
	defer e.phase("rotation")()
	if err := e.keepMoment(); err != nil {
		if errors.Is(err, dedup.ErrDiskFull) {
			e.rotated.Store(true) // worker.idle tries again
		}
		return err
	}
	e.removeDropped()
	e.results.removeOld()
	e.removeOldSnapshots()
	if e.opts.Mode == Approximate {
		return e.snapshot(false)
	}
	// Ahead of the first flush: making a segment takes 5 to 8 ms.
	if _, err := e.store.segmentFor(e.window.live(), 0, e.segmentBytes()); err != nil {
		return err
	}
	e.fitDue.Store(true)
	return e.grow()
}

// keepStep has the manifest tell that the wall has run ahead, before anything is
// marked that a kill and the next opening would else take for older than it is (I4).
//
//	10:00  the manifest is written
//	10:01  the machine is suspended; the monotonic clock stands
//	20:00  it goes on; a key is marked, at 10:01 by the engine's clock
//	20:01  kill, opening: ten hours since the manifest, so it is 20:01, and the key
//	       that was marked a minute ago is ten hours old
//
// The first call after the step does it, the others wait for that one: the worker
// may be at a merge.
func (e *Engine) keepStep(ctx context.Context) error {
	select {
	case e.stepping <- struct{}{}: // also where ctx has ended: see enter
	default:
		select {
		case e.stepping <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer func() { <-e.stepping }()
	if _, stepped := e.clock.look(); !stepped {
		return nil
	}
	return e.keepMoment()
}

// keepMoment has the manifest tell what time and window are.
func (e *Engine) keepMoment() error {
	at, tail := e.moment(), e.tail(nil)
	// Frames below the tail that promise results are not read again: the manifest takes over.
	err := errors.Join(e.results.sync(), e.journal.Sync())
	if err == nil {
		err = e.store.update(func(m *persist.Manifest) {
			e.describe(m, at)
			m.Tail = max(m.Tail, tail)
		})
	}
	if err == nil {
		e.releaseJournal()
	}
	if err != nil && (!errors.Is(err, dedup.ErrDiskFull) || errors.Is(err, dedup.ErrFailed)) {
		e.fail("writing the manifest", err)
	}
	return err
}

// removeDropped takes segments that the manifest no longer names out of the
// look-ups and off the disk.
func (e *Engine) removeDropped() {
	gone := e.store.takeDropped()
	if len(gone) == 0 {
		return
	}
	for i := range e.opts.Shards {
		e.set.Install(i, func() { e.store.uninstall(i, gone) })
	}
	if err := e.store.remove(gone); err != nil {
		e.opts.Logger.Warn("removing segments that are no longer needed", "error", err)
	}
}

func heldGaps(lost []persist.GapMeta, generations []generation) (out []persist.GapMeta) {
	for _, g := range lost {
		if g.Generation >= generations[0].number {
			out = append(out, g)
		}
	}
	return out
}
