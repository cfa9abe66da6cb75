package engine

import (
	"errors"
	"math"
	"runtime"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/sabotage"
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

// flushLoop turns sealed tables into runs until Close. Tables that it leaves are
// in the journal.
func (e *Engine) flushLoop() {
	defer e.running.Done()
	for {
		select {
		case <-e.stop.Done():
			return
		case <-e.flushing:
		}
		start := time.Now()
		if err := e.flushSealed(); err != nil {
			e.fail("flushing keys to the store", err)
		}
		e.counts.flushBusy.Add(int64(time.Since(start)))
	}
}

// flushSealed flushes what is sealed. Where more tables have gathered than a rotation
// seals, the next ones are being written while some are at the disk (36-byte keys: a
// fifth more a second); else that only takes processors from callers (a 99.9th
// percentile of 1.8 ms instead of 1.1). Tables are promised in their order.
func (e *Engine) flushSealed() error {
	var atDisk *flush
	for {
		var tables []*shards.Unflushed
		if e.stop.Err() == nil && e.failure.Load() == nil {
			tables = e.takeTables()
		}
		f, err := e.writeTables(tables)
		if atDisk != nil {
			if derr := <-atDisk.done; derr != nil {
				e.endFlush(f)
				tables, err = append(atDisk.tables, tables...), errors.Join(derr, err)
			}
			atDisk = nil
		}
		if err != nil {
			if err := e.flushWhenRoom(tables, err); err != nil {
				return err
			}
			continue
		}
		if len(tables) == 0 {
			if err := e.coverRest(); err != nil {
				return e.flushWhenRoom(nil, err)
			}
			return nil
		}
		atDisk = f
		if e.isBehind() {
			go func() { f.done <- e.finish(f) }() // waited for above
		} else {
			f.done <- e.finish(f)
		}
	}
}

func (e *Engine) takeTables() (tables []*shards.Unflushed) {
	for len(tables) < flushAtOnce {
		u := e.set.Next()
		if u == nil {
			break
		}
		tables = append(tables, u)
	}
	return tables
}

// flushWhenRoom flushes tables again that could not be with err, while the disk is
// full: the keys are safe in the journal, and callers are told ErrDiskFull meanwhile.
func (e *Engine) flushWhenRoom(tables []*shards.Unflushed, err error) error {
	for err != nil {
		if !errors.Is(err, dedup.ErrDiskFull) || errors.Is(err, dedup.ErrFailed) {
			return err // a failed sync is not tried again (I7)
		}
		e.setDiskFull(true)
		select {
		case <-e.stop.Done():
			e.set.PutBack(tables)
			return nil
		case <-time.After(diskRetry):
		}
		err = e.flush(tables)
	}
	e.setDiskFull(false)
	return nil
}

// lastFlush is from how many unflushed keys on Close flushes them: so many take
// 50 ms to replay at the next opening, and make runs that are worth it.
const lastFlush = 500_000

// flushLast is the flush of Close.
func (e *Engine) flushLast() error {
	if e.opts.Mode != Exact || e.set.Sizes().Unflushed < orDefault(e.opts.lastFlush, lastFlush) {
		return nil
	}
	e.set.Seal(math.MaxUint64)
	for {
		tables := e.takeTables()
		if len(tables) == 0 {
			return nil
		}
		if err := e.flush(tables); err != nil {
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
func (e *Engine) flush(tables []*shards.Unflushed) error {
	f, err := e.writeTables(tables)
	if err != nil {
		return err
	}
	return e.finish(f)
}

// writeTables is the first part of a flush, most of it work of the processor:
// nobody knows of the runs yet.
func (e *Engine) writeTables(tables []*shards.Unflushed) (*flush, error) {
	f := &flush{tables: tables, at: e.moment(), done: make(chan error, 1)}
	if len(tables) == 0 {
		return f, nil
	}
	defer e.phase("flush")()
	if err := e.checkRoom(tables); err != nil {
		return f, err
	}
	for i, u := range tables {
		done, err := e.write(u, following(tables[i:]))
		f.runs = append(f.runs, done)
		if err != nil {
			e.endFlush(f)
			return f, err
		}
		if done.segment != nil {
			e.startSync(done.segment)
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
// 16 of them, and 2 to 15 % fewer keys a second). Where they wait for none it is the other
// way round: 5 to 10 % fewer.
func (e *Engine) startSync(s *persist.Segment) {
	if e.opts.Sync == SyncAlways {
		s.StartSync()
	}
}

// endFlush lets go of the segments that a flush has written to.
func (e *Engine) endFlush(f *flush) {
	for _, done := range f.runs {
		if done.segment != nil {
			e.store.endWrite(done.segment)
		}
	}
	f.runs = nil
}

// finish is the second part, most of it waiting for the disk. A run must not hold
// what a power loss can take from the journal, since it is not replayed past.
func (e *Engine) finish(f *flush) error {
	defer e.phase("flush")()
	defer e.endFlush(f)
	if err := e.journal.Sync(); err != nil {
		return err
	}
	if !sabotage.On(sabotage.PublishUnsynced) {
		if err := e.syncSegments(f.runs); err != nil {
			return err
		}
	}
	if err := e.promise(f.runs, f.at); err != nil {
		return err
	}
	for _, done := range f.runs {
		e.set.Published(done.table, func() {
			// A generation may have been retired since: afterRotation takes its
			// runs out of the list after it left the window, so one of the two
			// sees the other.
			if e.isHeld(done.table.Generation) {
				e.store.install(done.table.Shard, done.table.Generation, 1<<done.table.Slot, done.runs)
			}
		})
		e.counts.flushes.Add(1)
		e.counts.flushedKeys.Add(uint64(done.table.Keys()))
	}
	e.releaseJournal()
	return nil
}

// syncSegments makes what was written durable, with one sync a segment.
func (e *Engine) syncSegments(done []flushed) error {
	synced := map[*persist.Segment]bool{}
	for i := range done {
		f := &done[i]
		if f.segment == nil || synced[f.segment] {
			continue
		}
		if err := f.segment.Sync(); err != nil && e.isHeld(f.table.Generation) {
			return err
		}
		synced[f.segment] = true
	}
	return nil
}

// giveWay lets callers have the flusher's processor. One that comes out of a system call would
// wait for the scheduler's slice of 10 ms otherwise. But among several callers the flusher comes
// back behind all of them: where it has fallen behind it would stay so until the journal or the
// tables are full and all of them wait for it at once. One caller outruns it for a moment only
// (with 36-byte keys), and pays for every yield left out.
func (e *Engine) giveWay() {
	e.yields++
	if e.batches.Load() < 2 || !e.isBehind() || e.yields%yieldBehind == 0 {
		runtime.Gosched()
	}
}

// isBehind reports whether more tables wait for the flush than a rotation seals.
func (e *Engine) isBehind() bool { return e.set.Sealed() > e.opts.Shards }
