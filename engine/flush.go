package engine

import (
	"errors"
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/shards"
)

const (
	// flushAtOnce is the largest number of tables that share one sync of the
	// store and one manifest, but for those that are tried again.
	flushAtOnce = 8
	// yieldEvery is after how many keys the flush may let callers have the
	// processor: some 100 µs.
	yieldEvery = 2048
	// yieldBehind is of how many such times it uses one where it has fallen behind.
	yieldBehind = 8
	// diskRetry is how long a flush waits before it looks for room again.
	diskRetry = 100 * time.Millisecond
)

// A flusher turns sealed tables into runs. Its loop is one goroutine, which Open starts and
// Close ends; Close then flushes what is left. Where it has fallen behind a second
// goroutine waits for the disk (finish) while it writes on.
type flusher struct {
	e         *Engine
	kick      chan struct{} // wakes the loop
	roomShort atomic.Bool   // the loop is to look what of the journal's ring nobody needs

	// The loop's own, and Close's after it.
	sorted []shards.Pair // scratch: the keys of a table in the order of a run
	yields uint          // how often it might have yielded
}

// wake has the loop look for sealed tables.
func (fl *flusher) wake() { wake(fl.kick) }

// loop flushes until Close. Tables that it leaves are in the journal.
func (fl *flusher) loop() {
	defer fl.e.running.Done()
	for {
		select {
		case <-fl.e.stop.Done():
			return
		case <-fl.kick:
		}
		start := time.Now()
		if err := fl.flushSealed(); err != nil {
			fl.e.fail("flushing keys to the store", err)
		}
		fl.e.counts.flushBusy.Add(int64(time.Since(start)))
	}
}

// flushSealed flushes what is sealed. Where more tables have gathered than a rotation
// seals, the next ones are being written while some are at the disk (36-byte keys: a
// fifth more a second); else that only takes processors from callers (a 99.9th
// percentile of 1.8 ms instead of 1.1). Tables are promised in their order.
func (fl *flusher) flushSealed() error {
	var atDisk *flush
	for {
		var tables []*shards.Unflushed
		if fl.e.stop.Err() == nil && fl.e.failure.Load() == nil {
			tables = fl.takeTables()
		}
		f, err := fl.writeTables(tables)
		if atDisk != nil {
			if derr := <-atDisk.done; derr != nil {
				fl.endFlush(f)
				tables, err = append(atDisk.tables, tables...), errors.Join(derr, err)
			}
			atDisk = nil
		}
		if err != nil {
			if err := fl.flushWhenRoom(tables, err); err != nil {
				return err
			}
			continue
		}
		if len(tables) == 0 {
			if err := fl.coverRest(); err != nil {
				return fl.flushWhenRoom(nil, err)
			}
			return nil
		}
		atDisk = f
		if fl.isBehind() {
			go func() { f.done <- fl.finish(f) }() // waited for above
		} else {
			f.done <- fl.finish(f)
		}
	}
}

func (fl *flusher) takeTables() (tables []*shards.Unflushed) {
	for len(tables) < flushAtOnce {
		u := fl.e.set.Next()
		if u == nil {
			break
		}
		tables = append(tables, u)
	}
	return tables
}

// flushWhenRoom flushes tables again that could not be with err, while the disk is
// full: the keys are safe in the journal, and callers are told ErrDiskFull meanwhile.
func (fl *flusher) flushWhenRoom(tables []*shards.Unflushed, err error) error {
	for err != nil {
		if !errors.Is(err, dedup.ErrDiskFull) || errors.Is(err, dedup.ErrFailed) {
			return err // a failed sync is not tried again (I7)
		}
		fl.e.setDiskFull(true)
		select {
		case <-fl.e.stop.Done():
			fl.e.set.PutBack(tables)
			return nil
		case <-time.After(diskRetry):
		}
		err = fl.flush(tables)
	}
	fl.e.setDiskFull(false)
	return nil
}

// lastFlush is from how many unflushed keys on Close flushes them: so many take
// 50 ms to replay at the next opening, and make runs that are worth it.
const lastFlush = 500_000

// last is the flush of Close.
func (fl *flusher) last() error {
	if fl.e.opts.Mode != Exact || fl.e.set.Sizes().Unflushed < orDefault(fl.e.opts.lastFlush, lastFlush) {
		return nil
	}
	fl.e.set.Seal(math.MaxUint64)
	for {
		tables := fl.takeTables()
		if len(tables) == 0 {
			return nil
		}
		if err := fl.flush(tables); err != nil {
			return err
		}
	}
}

// A flush is tables on their way to the disk.
type flush struct {
	tables []*shards.Unflushed
	runs   []flushed // what became of them
	at     moment    // when it began
	done   chan error
}

// flushed is a table and the runs it became.
type flushed struct {
	table   *shards.Unflushed
	segment *persist.Segment
	runs    []*persist.Run
}

// flush writes tables as runs. The order is what makes a crash harmless at any
// point: runs written, frames durable, store synced, manifest replaced, look-ups
// switched over, and only then the journal's room given back.
func (fl *flusher) flush(tables []*shards.Unflushed) error {
	f, err := fl.writeTables(tables)
	if err != nil {
		return err
	}
	return fl.finish(f)
}

// writeTables is the first part of a flush, most of it work of the processor:
// nobody knows of the runs yet.
func (fl *flusher) writeTables(tables []*shards.Unflushed) (*flush, error) {
	f := &flush{tables: tables, at: fl.e.moment(), done: make(chan error, 1)}
	if len(tables) == 0 {
		return f, nil
	}
	defer fl.e.phase("flush")()
	if err := fl.e.checkRoom(tables); err != nil {
		return f, err
	}
	for i, u := range tables {
		done, err := fl.write(u, following(tables[i:]))
		f.runs = append(f.runs, done)
		if err != nil {
			fl.endFlush(f)
			return f, err
		}
		if done.segment != nil {
			fl.e.startSync(done.segment)
		}
	}
	return f, nil
}

// following returns what the runs of all tables but the first take in that one's segment:
// about four fifths of the bound.
func following(tables []*shards.Unflushed) (n int64) {
	for _, u := range tables[1:] {
		if u.Generation == tables[0].Generation {
			n += int64(u.RunBytes()) * 4 / 5
		}
	}
	return n
}

// startSync has runs begin their way to the disk one by one, where callers wait for the
// disk: they would wait behind all at once (a 99th percentile of 32 ms instead of 23 with
// 16 of them, and 2 to 15 % fewer keys per second). Where they wait for none it is the other
// way round: 5 to 10 % fewer.
func (e *Engine) startSync(s *persist.Segment) {
	if e.opts.Sync == SyncAlways {
		s.StartSync()
	}
}

// endFlush lets go of the segments that a flush has written to.
func (fl *flusher) endFlush(f *flush) {
	for _, done := range f.runs {
		if done.segment != nil {
			fl.e.store.endWrite(done.segment)
		}
	}
	f.runs = nil
}

// finish is the second part, most of it waiting for the disk. A run must not hold
// what a power loss can take from the journal, since it is not replayed past.
func (fl *flusher) finish(f *flush) error {
	defer fl.e.phase("flush")()
	defer fl.endFlush(f)
	if err := fl.e.journal.Sync(); err != nil {
		return err
	}
	if err := fl.syncSegments(f.runs); err != nil {
		return err
	}
	if err := fl.writeManifest(f.runs, f.at); err != nil {
		return err
	}
	for _, done := range f.runs {
		fl.e.set.Published(done.table, func() {
			// A generation may have been retired since: afterRotation takes its
			// runs out of the list after it left the window, so one of the two
			// sees the other.
			if fl.e.window.holds(done.table.Generation) {
				fl.e.store.install(done.table.Shard, done.table.Generation, 1<<done.table.Slot, done.runs)
			}
		})
		fl.e.counts.flushes.Add(1)
		fl.e.counts.flushedKeys.Add(uint64(done.table.Keys()))
	}
	fl.e.releaseJournal()
	return nil
}

// syncSegments makes what was written durable, with one sync a segment.
func (fl *flusher) syncSegments(done []flushed) error {
	synced := map[*persist.Segment]bool{}
	for i := range done {
		f := &done[i]
		if f.segment == nil || synced[f.segment] {
			continue
		}
		if err := f.segment.Sync(); err != nil && fl.e.window.holds(f.table.Generation) {
			return err
		}
		synced[f.segment] = true
	}
	return nil
}

// coverRest gives room in the journal back that no flush gives, since the frames there
// are in no table. The flusher calls it when it has nothing to flush.
func (fl *flusher) coverRest() error {
	if !fl.roomShort.Swap(false) || fl.e.failure.Load() != nil {
		return nil
	}
	s, gain := fl.e.journal.State(), uint64(0)
	tail := fl.e.tail(nil)
	fl.e.store.view(func(m *persist.Manifest) { gain = tail - min(tail, m.Tail) })
	// A manifest for every few frames would cost more than it gives.
	if size := uint64(s.RingBytes); gain == 0 || gain < size/8 && uint64(s.Used) < size/4*3 {
		return nil
	}
	return fl.finish(&flush{at: fl.e.moment()})
}

// giveWay lets callers have the flusher's processor. One that comes out of a system call would
// wait for the scheduler's slice of 10 ms otherwise. But among several callers the flusher comes
// back behind all of them: where it has fallen behind it would stay so until the journal or the
// tables are full and all of them wait for it at once. One caller outruns it for a moment only
// (with 36-byte keys), and pays for every yield left out.
func (fl *flusher) giveWay() {
	fl.yields++
	if fl.e.batches.Load() < 2 || !fl.isBehind() || fl.yields%yieldBehind == 0 {
		runtime.Gosched()
	}
}

// isBehind reports whether more tables wait for the flush than a rotation seals.
func (fl *flusher) isBehind() bool { return fl.e.set.Sealed() > fl.e.opts.Shards }
