package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/nanotime"
	"github.com/firstseen/firstseen/internal/sabotage"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
	"github.com/firstseen/firstseen/shards"
)

// restore brings back what the directory holds, in the order of trust: the
// manifest's generations and runs, the filters (from snapshots, else from the
// runs), then the journal's frames, which are newer than all of them.
func (e *Engine) restore(m *persist.Manifest) error {
	e.clock.ahead.Store(m.Wall - m.Clock)
	if err := e.startClock(m, m.Clock); err != nil {
		return err
	}
	keys := make([]uint64, len(m.Generations))
	for i, g := range m.Generations {
		keys[i] = g.Keys
	}
	e.set.AssignSlots(m.Generations[0].Number, keys)
	for _, g := range m.Generations {
		e.window.generations = append(e.window.generations, generation{g.Number, g.Start, g.End})
		e.set.AddGeneration(g.Number, false, false)
	}
	if err := e.checkGenerations(); err != nil {
		return err
	}
	e.set.SetOldest(m.Generations[0].Number)
	if err := e.knownGaps(m); err != nil {
		return err
	}
	orphans, err := e.findOrphans(m)
	if err != nil {
		return err
	}
	for i := range m.Generations {
		if err := e.restoreGeneration(&m.Generations[i]); err != nil {
			return err
		}
	}
	if err := e.rebuild(); err != nil {
		return err
	}
	results := persist.PromisedResults(m.Results)
	if err := e.replay(m, results); err != nil {
		return err
	}
	if err := e.restoreResults(results); err != nil {
		return err
	}
	if m.Window != int64(e.opts.Window) || m.Span != int64(e.opts.span()) {
		if err := e.changeWindow(m); err != nil {
			return err
		}
	}
	// Only now: a manifest that does not fit the journal must not cost a segment.
	if err := e.store.remove(orphans); err != nil {
		return err
	}
	return e.keepGaps()
}

// checkGenerations: numbers ascend without a gap and fit the filter's slots.
func (e *Engine) checkGenerations() error {
	gs := e.window.generations
	if len(gs) == 0 {
		return e.store.damaged("the manifest names no generation")
	}
	for i := 1; i < len(gs); i++ {
		if gs[i].number != gs[i-1].number+1 || gs[i-1].end == 0 {
			return e.store.damaged("the manifest's generations don't follow one another")
		}
	}
	if len(gs) > e.opts.Generations {
		return fmt.Errorf("%w: it holds %d generations, Generations is %d", dedup.ErrIncompatible, len(gs), e.opts.Generations)
	}
	return nil
}

// findOrphans returns the segments that no manifest promises and removes such
// snapshots: they were being written, or being removed, when the process ended.
func (e *Engine) findOrphans(m *persist.Manifest) (orphans map[uint64]bool, err error) {
	promised, numbers := map[uint64]bool{}, map[uint64]bool{}
	for _, g := range m.Generations {
		numbers[g.Number] = true
		for _, s := range g.Segments {
			promised[s.ID] = true
		}
	}
	ids, err := persist.ListSegmentDirs(e.dir)
	if err != nil {
		return nil, err
	}
	orphans = map[uint64]bool{}
	for _, id := range ids {
		if !promised[id] {
			orphans[id] = true
		}
		e.store.manifest.NextID = max(e.store.manifest.NextID, id)
	}
	snaps, err := persist.ListSnapshots(e.fs, e.dir)
	if err != nil {
		return nil, err
	}
	live := m.Generations[len(m.Generations)-1].Number
	for _, n := range snaps {
		// A generation that began after the manifest may have a snapshot.
		if !numbers[n] && n < live {
			e.removeSnapshots([]uint64{n})
		}
	}
	return orphans, nil
}

// restoreGeneration opens the runs of one generation and fills its filter.
func (e *Engine) restoreGeneration(g *persist.GenerationMeta) error {
	byShard := make([][]*persist.Run, e.opts.Shards)
	lost := map[uint64]persist.RunMeta{} // promised and not opened
	for _, sm := range g.Segments {
		for _, m := range sm.Runs {
			lost[m.ID] = m
		}
		seg, runs, err := e.openSegment(sm)
		if err != nil {
			if err := e.gap(g, err); err != nil {
				return err
			}
		}
		if seg == nil {
			continue
		}
		e.store.segments[sm.ID] = seg
		if err == nil { // a damaged store takes nothing more
			e.store.writing[g.Number] = sm.ID
		}
		for _, r := range runs {
			byShard[r.Meta().Shard] = append(byShard[r.Meta().Shard], r)
			delete(lost, r.Meta().ID)
		}
	}
	// A snapshot tells which keys a generation has, and not which run has them.
	_, err := e.fs.Stat(persist.SnapshotPath(e.dir, g.Number))
	whole := err == nil || len(lost) > 0 || e.hasGap(g.Number)
	for shard, runs := range byShard {
		slices.SortFunc(runs, func(a, b *persist.Run) int { return cmp.Compare(a.Meta().Seq, b.Meta().Seq) })
		for _, r := range runs {
			meta := r.Meta()
			slot := 0
			if !meta.Tombstones {
				slot = e.set.PlaceRun(shard, g.Number, meta.Keys, whole)
			}
			e.set.Install(shard, func() { e.store.install(shard, g.Number, 1<<slot, []*persist.Run{r}) })
			e.set.SetSeq(shard, meta.Seq+1)
			if meta.Tombstones {
				if err := e.restoreTombstones(r, g); err != nil {
					return err
				}
			}
		}
	}
	return e.restoreFilter(g, byShard, lost)
}

func (e *Engine) openSegment(sm persist.SegmentMeta) (*persist.Segment, []*persist.Run, error) {
	c := persist.SegmentConfig{Dir: e.dir, ID: sm.ID, MaxBytes: e.segmentBytes(), Logger: e.opts.Logger, Unsynced: e.opts.Temporary}
	if e.opts.OnGap == Report {
		return persist.SalvageSegment(c, sm)
	}
	return persist.OpenSegment(c, sm)
}

func (e *Engine) restoreTombstones(r *persist.Run, g *persist.GenerationMeta) error {
	m := r.Meta()
	form := hash.Form(m.Form)
	return r.Scan(func(b *persist.Block) error {
		for i := range b.Len() {
			t := shards.Tombstone{Form: form}
			if form.Fixed() {
				t.Hi, t.Lo = b.Pair(i)
				t.Hi = e.set.Hash(int(m.Shard), t.Hi)
			} else {
				t.Record = append([]byte(nil), b.Key(i)...)
				t.Hi = e.hasher.Record(t.Record)
			}
			e.set.AddTombstone(int(m.Shard), t, m.Seq, g.Number)
		}
		return nil
	})
}

// restoreFilter takes the bits from the snapshot and adds the keys of every run
// that is younger; without a usable snapshot all runs are. lost are those
// of the generation that could not be opened.
func (e *Engine) restoreFilter(g *persist.GenerationMeta, byShard [][]*persist.Run, lost map[uint64]persist.RunMeta) error {
	gen := generation{g.Number, g.Start, g.End}
	positions, sealed, err := e.loadSnapshot(gen)
	if err == nil {
		err = g.CheckSnapshot(e.dir, slices.Min(positions))
	}
	usable := err == nil
	switch {
	case usable && sealed: // one made while the generation was live lacks its end
		e.snapshots.Store(g.Number, true)
	case usable:
	case errors.Is(err, fs.ErrNotExist) && e.opts.Mode == Exact:
	case e.opts.Mode == Exact:
		e.opts.Logger.Warn("a filter snapshot can't be used, the filter is rebuilt", "generation", g.Number, "error", err)
	case e.opts.Mode == Approximate && errors.Is(err, dedup.ErrIncompatible):
		return err // whole, and no gap
	case errors.Is(err, fs.ErrNotExist) && g.Snapshot == 0:
		// An approximate engine before its first snapshot: the journal has it all.
	default:
		err = persist.Required(err, persist.SnapshotPath(e.dir, g.Number))
		if err := e.gap(g, err); err != nil {
			return err
		}
		e.blind(g.Number)
	}
	if e.opts.Mode == Approximate {
		return nil
	}
	blind := !usable && e.hasGap(g.Number)
	for _, m := range lost {
		blind = blind || !m.Tombstones && (!usable || m.MaxPos > positions[m.Shard])
	}
	if blind {
		e.blind(g.Number) // the lost runs' keys are in no filter
	}
	var younger []*persist.Run
	for shard, runs := range byShard {
		for _, r := range runs {
			m := r.Meta()
			if m.Tombstones || usable && m.MaxPos <= positions[shard] || sabotage.On(sabotage.SkipRebuild) {
				continue
			}
			younger = append(younger, r)
		}
	}
	if len(younger) > 0 {
		e.recovery.Rebuilt++
	}
	for _, r := range younger {
		e.younger = append(e.younger, youngerRun{run: r, slot: e.store.slot(r), g: g})
	}
	return nil
}

// A youngerRun is one whose keys its generation's filter lacks.
type youngerRun struct {
	run  *persist.Run
	slot int // of the filter
	g    *persist.GenerationMeta
	err  error
}

// rebuild adds the keys of all younger runs to the filters, on all processors.
func (e *Engine) rebuild() error {
	byShard := make([][]*youngerRun, e.opts.Shards)
	for i := range e.younger {
		r := &e.younger[i]
		shard := r.run.Meta().Shard
		byShard[shard] = append(byShard[shard], r)
	}
	var workers sync.WaitGroup
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for shard := int(next.Add(1)) - 1; shard < len(byShard); shard = int(next.Add(1)) - 1 {
				e.addRuns(shard, byShard[shard])
			}
		})
	}
	workers.Wait()
	for i := range e.younger {
		r := &e.younger[i]
		if r.err == nil {
			continue
		}
		if err := e.gap(r.g, r.err); err != nil {
			return err
		}
		e.blind(r.g.Number)
	}
	e.younger = nil
	return nil
}

// addRuns adds the keys of a shard's runs to its filter: all of them together, a piece
// of the filter after the other. One run after the other would bring each of its
// lines from memory once a run (100 M keys in 560 runs: an opening of 4 s instead of 2).
func (e *Engine) addRuns(shard int, runs []*youngerRun) {
	const piece = 1 << 56 // of the orders: 256 pieces, which fit the second-level cache
	cursors, fixed := make([]*persist.Cursor, len(runs)), make([]bool, len(runs))
	for i, r := range runs {
		cursors[i], fixed[i] = r.run.Cursor(), fixedForm(r.run)
	}
	var orders []uint64
	for end, left := uint64(piece-1), len(runs); left > 0; end += piece {
		for i, r := range runs {
			if cursors[i] == nil {
				continue
			}
			orders = orders[:0]
			more, err := cursors[i].Until(end, func(b *persist.Block) { orders = e.appendOrders(orders, fixed[i], b) })
			e.set.AddOrders(shard, r.slot, orders)
			if !more {
				cursors[i], r.err = nil, err
				left--
			}
		}
	}
}

func fixedForm(r *persist.Run) bool { return hash.Form(r.Meta().Form).Fixed() }

// appendOrders appends the orders of a block's keys.
func (e *Engine) appendOrders(orders []uint64, fixed bool, b *persist.Block) []uint64 {
	for i := range b.Len() {
		if fixed {
			order, _ := b.Pair(i)
			orders = append(orders, order)
		} else {
			orders = append(orders, e.set.Order(e.hasher.Record(b.Key(i))))
		}
	}
	return orders
}

// addRun gives the orders of a run's keys to add, some thousands at a time.
func (e *Engine) addRun(r *persist.Run, add func(orders []uint64)) error {
	const many = 4096
	orders, fixed := make([]uint64, 0, many+128), fixedForm(r)
	err := r.Scan(func(b *persist.Block) error {
		orders = e.appendOrders(orders, fixed, b)
		if len(orders) >= many {
			add(orders)
			orders = orders[:0]
		}
		return nil
	})
	add(orders)
	return err
}

// replay applies the frames that no run holds yet.
func (e *Engine) replay(m *persist.Manifest, results persist.ResultPromises) error {
	var b shards.Batch
	newest := int64(0)
	apply := func(f *journal.Frame) error {
		newest = max(newest, f.Time)
		switch f.Kind {
		case journal.KindRotate:
			return e.replayRotation(m, f)
		case journal.KindResults:
			if !results.Add(f) {
				return e.store.damaged("the journal promises results in %d bytes", len(f.Payload))
			}
			return nil
		}
		r, start := record(f)
		if r.Shard < len(m.Covered) && f.End <= m.Covered[r.Shard] {
			return nil
		}
		gs := e.window.generations
		if r.Generation < gs[0].number {
			return nil // older than the window
		}
		if r.Generation > gs[len(gs)-1].number {
			return e.store.damaged("the journal names generation %d, the newest is %d", r.Generation, gs[len(gs)-1].number)
		}
		e.recovery.Replayed += uint64(r.Count)
		return e.set.Replay(&b, &r, start, f.End)
	}
	found, err := e.journal.Replay(m.Tail, apply)
	if err != nil {
		return err
	}
	e.set.EndReplay()
	e.journal.Release(m.Tail)
	e.recovery.Clean, e.recovery.DroppedBytes = found.Clean, found.Dropped
	if found.MayHaveLost != 0 {
		e.noteLoss(found.MayHaveLost, max(m.Clock, newest))
	}
	live := m.Generations[len(m.Generations)-1]
	e.newest = max(m.Clock, newest)
	e.rotateAt.Store(0) // the first call looks
	return e.startClock(m, max(e.newest, live.Start))
}

// startClock lets time go on from what the manifest tells and from newest, the last time
// that is known.
func (e *Engine) startClock(m *persist.Manifest, newest int64) error {
	if e.opts.loading != nil { // what was marked before that counts as marked then
		e.opts.loading.set(time.Unix(0, nanotime.Add(m.Wall, newest-m.Clock)))
	}
	return e.clock.start(&e.opts, func(wall int64) int64 { return max(nanotime.Add(m.Clock, max(0, wall-m.Wall)), newest) })
}

// noteLoss says what a power loss may have taken: marks of the last d (-1: of any
// time) whose calls returned after since. Neither the manifest's clock nor a frame
// that is there can be newer than a mark that is not: the journal loses its end
// only.
func (e *Engine) noteLoss(d time.Duration, since int64) {
	if sabotage.On(sabotage.HideLoss) {
		return
	}
	e.recovery.MayHaveLost, e.recovery.LostSince = d, time.Unix(0, since)
	e.opts.Logger.Warn("the machine stopped without a clean close: the newest marks may be lost", "at_most", d, "since", e.recovery.LostSince)
}

func (e *Engine) replayRotation(m *persist.Manifest, f *journal.Frame) error {
	gs := e.window.generations
	live := gs[len(gs)-1]
	if f.Generation <= live.number {
		return nil // the manifest knew it
	}
	start, end, ok := f.Rotation()
	if f.Generation != live.number+1 || !ok {
		return e.store.damaged("the journal begins generation %d after %d", f.Generation, live.number)
	}
	if gs[0].number+uint64(e.opts.Generations) <= f.Generation {
		if !e.mayReuse(m, gs[0], start) {
			return fmt.Errorf("%w: it holds more than %d generations, Generations is %d: open it with more of them until the oldest is older than the window",
				dedup.ErrIncompatible, e.opts.Generations, e.opts.Generations)
		}
		e.dropOldestLocked(1)
	}
	e.beginGeneration(generation{number: f.Generation, start: start}, end)
	return nil
}

// changeWindow is for an opening with another Window or Generations than before. The live
// generation may hold keys that are younger than its end would be by a shorter span: it
// begins later then. And the manifest tells the new options before the journal gets a
// frame that is written with them: see mayReuse.
func (e *Engine) changeWindow(m *persist.Manifest) error {
	gs := e.window.generations
	live := &gs[len(gs)-1]
	until := min(e.newest, generationEnd(gs, m.Span, m.Window, 1+m.Window/max(1, m.Span)))
	live.start = max(live.start, until-int64(e.opts.span()))
	return e.keepMoment()
}

// mayReuse reports whether the oldest generation, whose slot is wanted, had been retired
// when a generation began at start. It had where the frame was written with as many slots
// as there are now, or with fewer. With more it may still have been in the window. Frames
// that the manifest knows nothing of were written with the options that it tells.
func (e *Engine) mayReuse(m *persist.Manifest, oldest generation, start int64) bool {
	slots := 1 + m.Window/max(1, m.Span)
	return slots <= int64(e.opts.Generations) || oldest.end+m.Window <= start || sabotage.On(sabotage.ForgetSlots)
}
