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
	// maintainEvery is for what nobody wakes the maintenance for: sizes, ended leases, the disk,
	// and a generation that ends while no call comes.
	maintainEvery = 50 * time.Millisecond
	// diskEvery is how often the free space is asked for. MinFreeDisk has to cover what
	// everybody on the disk writes in between.
	diskEvery = 250 * time.Millisecond
	// refusalCheck is how often a call that waits for room looks whether the
	// engine has begun to refuse marks.
	refusalCheck = 50 * time.Millisecond
)

// A maintainer does what must happen on time and costs little: rotation, clearing, room
// in the journal, leases, the free-space guard. Its loop is one goroutine, which Open
// starts and Close ends.
type maintainer struct {
	e          *Engine
	kick       chan struct{} // wakes the loop; of capacity 1, so that a wake-up during a pass is kept
	persisting atomic.Bool   // a goroutine of its own is at persistStep

	// The loop's own, but for start, which sets lastTold before it.

	// lastTold are the generations that afterRotation was told of last. At first they are those
	// of the manifest that was opened: the replay may have rotated, and the disk must follow.
	lastTold []generation
	sweptAt  int64 // by the engine's clock, as leases are
	// diskAt is by the monotonic clock: a wall that is set back must not put the guard to sleep.
	diskAt time.Time
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

// pass does what is due. It must not wait for the disk, but for a rotation's frame: it is what
// makes room for calls that wait.
func (mt *maintainer) pass() error {
	e := mt.e
	now, stepped := e.clock.look()
	if stepped {
		mt.persistStepLater()
	}
	if e.window.isDue(now) {
		if err := e.tryRotate(now); err != nil {
			return err
		}
	}
	// Clearing may take many pieces, and callers must not wait for room in the journal so long.
	for e.set.Clear() && e.stop.Err() == nil {
		e.relieveJournal()
		runtime.Gosched()
	}
	mt.postAfterRotation()
	e.relieveJournal()
	e.watchSizes()
	// Crowded comes last: it takes the lock of each shard.
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

// persistStepLater runs persistStep in a goroutine of its own, since the pass must not wait
// for the disk. Calls that begin after a step do it themselves (enter); this is for a call
// that began before it, waited, and will answer without having seen it.
func (mt *maintainer) persistStepLater() {
	e := mt.e
	if !mt.persisting.CompareAndSwap(false, true) {
		return
	}
	e.running.Go(func() {
		defer mt.persisting.Store(false)
		if err := e.persistStep(e.stop); err != nil && e.stop.Err() == nil {
			e.worker.failed(err)
		}
	})
}

// postAfterRotation gives the worker afterRotation to do if the window has changed since the
// last time. Calls rotate too, so it compares instead of being told.
func (mt *maintainer) postAfterRotation() {
	e, old := mt.e, mt.lastTold
	if gs := e.window.held(); gs[len(gs)-1].number != old[len(old)-1].number || gs[0].number != old[0].number {
		mt.lastTold = gs
		e.rotated.Store(true)
		// Not rotated itself, which stays set where worker.idle is to try again.
		if e.following.CompareAndSwap(false, true) {
			e.worker.post(func() error {
				e.following.Store(false) // first: a change from here on needs another job
				return e.afterRotation()
			})
		}
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

// relieveJournal keeps half of the ring free, so that calls seldom wait for room. It seals the
// tables of shards whose oldest unflushed key lies far back, and the flush gives the room
// back. Without a store a snapshot takes the place of a flush.
func (e *Engine) relieveJournal() {
	s := e.journal.State()
	// Cleared before the work: one that is set meanwhile is kept for the next pass. A call that
	// waits sets it again each refusalCheck.
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
		below = s.End // somebody waits: in a small ring even the newest keys stand in the way
	}
	// A ring that is full before the tables are makes them flush early, as many small runs.
	if s.RingBytes < e.ringMost() && s.RingBytes < s.MaxRing {
		e.resize(e.growRing)
	}
	e.set.Seal(below)
	// Before the wake-up: the flusher looks at it when it has nothing to flush.
	e.flusher.roomShort.Store(true)
	e.flusher.wake()
}

// phase tells a test that it begins, and that it ended by what it returns. Outside of tests it
// does nothing.
func (e *Engine) phase(name string) (end func()) {
	if e.opts.phase == nil {
		return func() {}
	}
	return e.opts.phase(name)
}

// afterRotation does what a rotation has left to the disk. First the manifest stops naming
// the retired generations, then their files are removed: after a crash in between they are
// orphans, while the other order would lose what a manifest promises (I5).
//
// Without a store it also writes the filter of the generation just sealed. With a store that
// would take 3 bytes per key, and after a crash the runs give the same bits about as fast
// (docs/decisions/006); so Close writes what is missing.
func (e *Engine) afterRotation() error {
	if !e.rotated.Swap(false) {
		return nil
	}
	defer e.phase("rotation")()
	if err := e.persistMoment(); err != nil {
		// Nothing was removed, and the manifest that is there names all of it.
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

// persistStep writes a manifest that says how far the wall clock has run ahead of the
// engine's, before anything more is marked. Otherwise an opening after a kill would take the
// step for time that passed, and keys for older than they are (I4):
//
//	10:00  the manifest is written
//	10:01  the machine is suspended; the monotonic clock stops
//	20:00  it goes on; a key is marked, at 10:01 by the engine's clock
//	20:01  kill, opening: ten hours since the manifest, so it is 20:01, and the key
//	       that was marked a minute ago is ten hours old
//
// The first call after the step does it itself, since the worker may be at a merge. The
// others wait for that call.
func (e *Engine) persistStep(ctx context.Context) error {
	select {
	case e.stepLock <- struct{}{}: // also where ctx has ended: see enter
	default:
		select {
		case e.stepLock <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer func() { <-e.stepLock }()
	// Again, with stepLock held: another call may have written the manifest meanwhile.
	if _, stepped := e.clock.look(); !stepped {
		return nil
	}
	return e.persistMoment()
}

// persistMoment writes a manifest with the present time and window. The moment and the tail
// are read before the journal's sync: see moment and tail.
func (e *Engine) persistMoment() error {
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
	if isUnknown(err) {
		e.fail("writing the manifest", err)
	}
	return err
}

// removeDropped takes segments that the manifest no longer names out of the look-ups, and then
// off the disk. A look-up that still has an older list gets ErrRetired and asks again. Only the
// worker calls it. What can't be removed costs room until the next opening, which finds an orphan.
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

// heldGaps returns the gaps in generations of the window: a gap goes with its generation.
func heldGaps(lost []persist.GapMeta, generations []generation) (out []persist.GapMeta) {
	for _, g := range lost {
		if g.Generation >= generations[0].number {
			out = append(out, g)
		}
	}
	return out
}
