package engine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/nanotime"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/shards"
)

// A recovery is an Open at work: it brings back what the directory holds, in the order
// of trust: the manifest's generations and runs, the filters (from snapshots, else from
// the runs), then the journal's frames, which are newer than all of them. It belongs to
// Open's goroutine.
type recovery struct {
	e     *Engine
	m     *persist.Manifest // the one that was opened
	stats RecoveryStats

	lost    []persist.GapMeta // known gaps
	younger []youngerRun      // runs that are still to be added to filters
	newest  int64             // no mark is younger, by the engine's clock
}

// run brings everything back, in this order:
//
//   - Generations before gaps: a gap is noted at its generation's slots.
//   - Runs before the journal: the tables of a replay get higher sequence numbers than every run, and
//     so do its tombstones, which override the runs.
//   - The journal before results: only then it is known which of them were promised, and which
//     keys are marked.
//   - What may be removed goes last.
func (rc *recovery) run() error {
	if err := rc.window(); err != nil {
		return err
	}
	if err := rc.knownGaps(); err != nil {
		return err
	}
	orphans, err := rc.findOrphans()
	if err != nil {
		return err
	}
	for i := range rc.m.Generations {
		if err := rc.restoreGeneration(&rc.m.Generations[i]); err != nil {
			return err
		}
	}
	if err := rc.rebuild(); err != nil {
		return err
	}
	results := persist.PromisedResults(rc.m.Results)
	if err := rc.replay(results); err != nil {
		return err
	}
	if err := rc.restoreResults(results); err != nil {
		return err
	}
	if err := rc.changeWindow(); err != nil {
		return err
	}
	// Only now: a manifest that does not fit the journal must not cost a segment.
	if err := rc.e.store.remove(orphans); err != nil {
		return err
	}
	return rc.persistGaps()
}

// window sets the clock and begins the manifest's generations, without their keys. The clock is set
// once more after the replay, which may find frames that are newer.
func (rc *recovery) window() error {
	e, m := rc.e, rc.m
	e.clock.ahead.Store(m.Wall - m.Clock)
	if err := rc.startClock(m.Clock); err != nil {
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
	if err := rc.checkGenerations(); err != nil {
		return err
	}
	e.set.SetOldest(m.Generations[0].Number)
	return nil
}

// startClock lets time go on from what the manifest tells and from newest, the last time
// that is known.
func (rc *recovery) startClock(newest int64) error {
	e, m := rc.e, rc.m
	// Time moves on by what the wall has moved on since the manifest, and never goes back (I4): not
	// with a wall that was set back, nor behind a frame that was read.
	if e.opts.loading != nil { // what was marked before that counts as marked then
		e.opts.loading.set(time.Unix(0, nanotime.Add(m.Wall, newest-m.Clock)))
	}
	return e.clock.start(&e.opts, func(wall int64) int64 { return max(nanotime.Add(m.Clock, max(0, wall-m.Wall)), newest) })
}

// checkGenerations checks that the numbers ascend without a gap and fit the filter's slots. From here
// on the next generation's number is taken to be one more than the last one's.
func (rc *recovery) checkGenerations() error {
	gs := rc.e.window.generations
	if len(gs) == 0 {
		return rc.e.store.damaged("the manifest names no generation")
	}
	for i := 1; i < len(gs); i++ {
		if gs[i].number != gs[i-1].number+1 || gs[i-1].end == 0 {
			return rc.e.store.damaged("the manifest's generations don't follow one another")
		}
	}
	if len(gs) > rc.e.opts.Generations {
		return fmt.Errorf("%w: it holds %d generations, Generations is %d", dedup.ErrIncompatible, len(gs), rc.e.opts.Generations)
	}
	return nil
}

// findOrphans returns the segments that the manifest does not name and removes such snapshots.
// They were being written, or being removed, when the process ended. The segments stay until
// the journal has been read: if it does not fit the manifest, the manifest may be the wrong
// one (I5).
func (rc *recovery) findOrphans() (orphans map[uint64]bool, err error) {
	promised, numbers := map[uint64]bool{}, map[uint64]bool{}
	for _, g := range rc.m.Generations {
		numbers[g.Number] = true
		for _, s := range g.Segments {
			promised[s.ID] = true
		}
	}
	ids, err := persist.ListSegmentDirs(rc.e.dir)
	if err != nil {
		return nil, err
	}
	orphans = map[uint64]bool{}
	for _, id := range ids {
		if !promised[id] {
			orphans[id] = true
		}
		// A number is not used again while the directory of that name is there.
		rc.e.store.manifest.NextID = max(rc.e.store.manifest.NextID, id)
	}
	snaps, err := persist.ListSnapshots(rc.e.fs, rc.e.dir)
	if err != nil {
		return nil, err
	}
	live := rc.m.Generations[len(rc.m.Generations)-1].Number
	for _, n := range snaps {
		// A generation that began after the manifest may have a snapshot.
		if !numbers[n] && n < live {
			rc.e.removeSnapshots([]uint64{n})
		}
	}
	return orphans, nil
}

// restoreGeneration opens the runs of one generation and fills its filter.
func (rc *recovery) restoreGeneration(g *persist.GenerationMeta) error {
	byShard, lost, err := rc.openRuns(g)
	if err != nil {
		return err
	}
	// A snapshot tells which keys a generation has, not which run has them. Where there is
	// one, or where runs are missing, all keys of the generation must stay in one slot.
	_, err = rc.e.fs.Stat(persist.SnapshotPath(rc.e.dir, g.Number))
	whole := err == nil || len(lost) > 0 || rc.hasGap(g.Number)
	for shard, runs := range byShard {
		for _, r := range runs {
			if err := rc.install(g, shard, r, whole); err != nil {
				return err
			}
		}
	}
	return rc.restoreFilter(g, byShard, lost)
}

// openRuns opens a generation's segments and returns their runs, those of a shard in the
// order of its tables, in which they are placed into slots. lost are those that were promised and
// could not be opened; without OnGap Report that is an error instead.
func (rc *recovery) openRuns(g *persist.GenerationMeta) (byShard [][]*persist.Run, lost map[uint64]persist.RunMeta, err error) {
	byShard, lost = make([][]*persist.Run, rc.e.opts.Shards), map[uint64]persist.RunMeta{}
	for _, sm := range g.Segments {
		// All count as lost until they are opened, so none is forgotten where a segment is gone.
		for _, m := range sm.Runs {
			lost[m.ID] = m
		}
		seg, runs, err := rc.openSegment(sm)
		if err != nil {
			if err := rc.gap(g, err); err != nil {
				return nil, nil, err
			}
		}
		if seg == nil {
			continue
		}
		rc.e.store.segments[sm.ID] = seg
		if err == nil { // a damaged store takes nothing more
			rc.e.store.current[g.Number] = sm.ID
		}
		for _, r := range runs {
			byShard[r.Meta().Shard] = append(byShard[r.Meta().Shard], r)
			delete(lost, r.Meta().ID)
		}
	}
	for _, runs := range byShard {
		slices.SortFunc(runs, func(a, b *persist.Run) int { return cmp.Compare(a.Meta().Seq, b.Meta().Seq) })
	}
	return byShard, lost, nil
}

// install makes a run visible to look-ups; whole: see shards.Set.PlaceRun.
func (rc *recovery) install(g *persist.GenerationMeta, shard int, r *persist.Run, whole bool) error {
	e, meta, slot := rc.e, r.Meta(), 0
	if !meta.Tombstones {
		slot = e.set.PlaceRun(shard, g.Number, meta.Keys, whole)
	}
	e.set.Install(shard, func() { e.store.install(shard, g.Number, 1<<slot, []*persist.Run{r}) })
	// What is marked from here on is newer than the run: a tombstone of the run overrides older
	// runs only, and a tombstone to come overrides the run.
	e.set.SetSeq(shard, meta.Seq+1)
	if meta.Tombstones {
		return rc.restoreTombstones(r, g)
	}
	return nil
}

// openSegment opens a segment whole, or, where gaps are to be reported, with the runs that are
// left of it.
func (rc *recovery) openSegment(sm persist.SegmentMeta) (*persist.Segment, []*persist.Run, error) {
	c := persist.SegmentConfig{Dir: rc.e.dir, ID: sm.ID, MaxBytes: rc.e.segmentBytes(), Logger: rc.e.opts.Logger, Unsynced: rc.e.opts.Temporary}
	if rc.e.opts.OnGap == Report {
		return persist.SalvageSegment(c, sm)
	}
	return persist.OpenSegment(c, sm)
}

// restoreTombstones brings back the tombstones of a run: unlike marks they are all in memory. A run
// of a fixed form keeps orders, which lack the shard's bits; Hash gives those back.
func (rc *recovery) restoreTombstones(r *persist.Run, g *persist.GenerationMeta) error {
	m := r.Meta()
	form := hash.Form(m.Form)
	return r.Scan(func(b *persist.Block) error {
		for i := range b.Len() {
			t := shards.Tombstone{Form: form}
			if form.Fixed() {
				t.Hi, t.Lo = b.Pair(i)
				t.Hi = rc.e.set.Hash(int(m.Shard), t.Hi)
			} else {
				t.Record = append([]byte(nil), b.Key(i)...)
				t.Hi = rc.e.hasher.Record(t.Record)
			}
			rc.e.set.AddTombstone(int(m.Shard), t, m.Seq, g.Number)
		}
		return nil
	})
}
