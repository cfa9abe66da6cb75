package engine

import (
	"errors"
	"math"
	"runtime"
	"sync/atomic"
	"time"

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
	// diskRetry is how long a flush waits before it looks for room again. Nothing tells when
	// somebody else frees some.
	diskRetry = 100 * time.Millisecond
)

// A flusher turns sealed tables into runs. Its loop is one goroutine, which Open starts and
// Close ends; Close then flushes what is left. Where it has fallen behind a second
// goroutine waits for the disk (syncAndPublish) while it writes on.
type flusher struct {
	e    *Engine
	kick chan struct{} // wakes the loop; of capacity 1, so that a wake-up during a flush is kept
	// roomShort is set by the maintenance and cleared by the flusher: the ring is short of room,
	// and writeTail is to see what of it nobody needs.
	roomShort atomic.Bool

	// The loop's own, and Close's after it. syncAndPublish must not use them, since it may run
	// beside the loop.
	sorted []shards.Pair // scratch: the keys of a table in the order of a run
	yields uint          // how often it might have yielded
}

// wake has the loop look for sealed tables.
func (fl *flusher) wake() { wake(fl.kick) }

// loop flushes until Close. Tables that it leaves are in the journal. An error that flushSealed
// returns ends the engine (I7): a table that nobody flushes would keep its frames' room for ever,
// and callers would wait for memory without end.
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

// flushSealed flushes what is sealed. If more tables have gathered than a rotation seals, it
// writes the next ones while those before are at the disk: a fifth more 36-byte keys per
// second. Otherwise that would only take processors from callers (a 99.9th percentile of
// 1.8 ms instead of 1.1).
//
// Manifests must name the tables of a shard in their order, since each says up to which
// position of the journal the shard is covered. So at most one flush is at the disk, and if
// it fails its tables come first again.
func (fl *flusher) flushSealed() error {
	var atDisk *flush
	for {
		var tables []*shards.Unflushed
		if fl.e.stop.Err() == nil && fl.e.failure.Load() == nil {
			tables = fl.takeTables()
		}
		f, err := fl.writeTables(tables)
		if atDisk != nil {
			// The later flush must not go first, though its runs are written. They become orphans in
			// their segment, and its tables are written once more.
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
			if err := fl.writeTail(); err != nil {
				return fl.flushWhenRoom(nil, err)
			}
			return nil
		}
		atDisk = f
		if fl.isBehind() {
			go func() { f.done <- fl.syncAndPublish(f) }() // waited for above
		} else {
			f.done <- fl.syncAndPublish(f)
		}
	}
}

// takeTables takes sealed tables in the order in which they were sealed. Whoever does not flush
// them gives them back by PutBack.
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

// flushWhenRoom flushes tables again whose flush failed with err, if that was a full disk,
// until there is room. The keys are safe in the journal, and callers that mark are told
// ErrDiskFull meanwhile.
func (fl *flusher) flushWhenRoom(tables []*shards.Unflushed, err error) error {
	for err != nil {
		if isUnknown(err) {
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

// flushForClose is the flush of Close, after the loop has ended. It does not wait at a full disk:
// the journal has the keys, and an opening that has room replays them.
func (fl *flusher) flushForClose() error {
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
	runs   []flushed  // what became of them; emptied by endFlush
	at     moment     // when it began, before the journal's sync: see moment
	done   chan error // of capacity 1: gets what syncAndPublish returned
}

// flushed is a table and the runs it became.
type flushed struct {
	table *shards.Unflushed
	// segment is held by beginWrite until endFlush. It is nil where the generation had left the
	// window: then there are no runs, but the table is published all the same, to give back its
	// memory and its frames' room.
	segment *persist.Segment
	runs    []*persist.Run
}

// flush writes tables as runs. Its order makes a crash harmless at any point:
//
//  1. The runs are written. No manifest names them, so after a crash they are orphans.
//  2. The journal is synced. A power loss can take frames that are not synced, and a run must
//     not know more than the journal: see syncAndPublish.
//  3. The segments are synced.
//  4. The manifest names the runs and says that they cover their frames (I5). A crash from
//     here on finds the keys in the runs.
//  5. Look-ups switch from tables to runs.
//  6. The frames' room in the journal is given back, and may be overwritten.
func (fl *flusher) flush(tables []*shards.Unflushed) error {
	f, err := fl.writeTables(tables)
	if err != nil {
		return err
	}
	return fl.syncAndPublish(f)
}

// writeTables is step 1 of a flush, most of it work of the processor. After an error the flush
// holds no segment.
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

// following returns what the runs of all tables but the first will take in the first one's
// segment: about four fifths of their upper bound.
func following(tables []*shards.Unflushed) (n int64) {
	for _, u := range tables[1:] {
		if u.Generation == tables[0].Generation {
			n += int64(u.RunBytes()) * 4 / 5
		}
	}
	return n
}

// startSync starts writing a finished run to the disk under SyncAlways. Otherwise callers'
// syncs would wait behind all runs of the flush at once: with 16 callers a 99th percentile of
// 32 ms instead of 23, and 2 to 15 % fewer keys per second. In the other modes, where no
// caller waits for a sync, it would cost 5 to 10 % of the keys.
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

// syncAndPublish is the rest of a flush, steps 2 to 6, most of it waiting for the disk. The
// journal comes first because a replay skips frames up to the position that the manifest says
// is covered. If a power loss took the last of them, the journal would end before that
// position, and a later replay would skip the new frames that are written there.
func (fl *flusher) syncAndPublish(f *flush) error {
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
			// The generation may have been retired since. afterRotation takes its runs out
			// of the list after it has left the window, so either this sees that it has
			// left, or afterRotation finds the runs in the list.
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

// syncSegments makes what was written durable, with one sync a segment. A segment whose
// generation has left the window may be gone, and nobody asks for its runs: its error counts for
// nothing.
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

// writeTail gives room in the journal back that no flush gives, since the frames there
// are in no table. The flusher calls it when it has nothing to flush.
func (fl *flusher) writeTail() error {
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
	return fl.syncAndPublish(&flush{at: fl.e.moment()})
}

// giveWay yields the flusher's processor to callers. A caller that comes out of a system call
// would otherwise wait for the end of the scheduler's slice of 10 ms. But with several callers
// the flusher comes back behind all of them, and once it has fallen behind it stays behind,
// until tables or journal are full and everybody waits for it. So then it yields eight times
// less: without that the p99.9 with eight callers was 150 ms (docs/decisions/002). A single
// caller outruns it for a moment only, and would pay for every yield left out.
func (fl *flusher) giveWay() {
	fl.yields++
	if fl.e.batches.Load() < 2 || !fl.isBehind() || fl.yields%yieldBehind == 0 {
		runtime.Gosched()
	}
}

// isBehind reports whether more tables wait for the flush than a rotation seals, which is one for
// each shard. Fewer are no sign of a slow disk.
func (fl *flusher) isBehind() bool { return fl.e.set.Sealed() > fl.e.opts.Shards }
