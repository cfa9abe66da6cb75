package engine

import (
	"errors"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/persist"
)

const (
	// maxRuns is how many runs of a form a shard may have in a generation before
	// they are merged whatever it pays.
	maxRuns = 8
	// mergeRatio: a segment joins a merge of a live generation when it is at most
	// this many times as large as all the smaller ones together.
	mergeRatio = 3
	// What merging a key costs and asking one more run costs, ns (BenchmarkMerge,
	// BenchmarkConfirm); a wait for the disk comes on top of it.
	mergeCost, askCost = 60, 150
	// mergePays is how many times its cost a merge has to save. The rate of look-ups is
	// the last interval's and may not last.
	mergePays = 4
)

// mergeDue merges the runs of one generation, if at the last interval's rate of look-ups that
// pays within the generation's remaining life, or if a shard has too many runs. The result
// goes to a segment of its own, and the old ones are removed as a whole: no tombstones in
// Badger, no compaction.
func (wk *worker) mergeDue() error {
	e := wk.e
	// In ns, since Open. The rate is that of the time since the last call, which idle makes every
	// scrubEvery unless there are jobs.
	took := e.counts.runsAsked.Load()*askCost + e.counts.diskWait.Load()
	now := e.clock.read()
	cost := 0.0 // of asking runs, ns a second
	if passed := now - wk.lookupCost.at; wk.lookupCost.at != 0 && passed > 0 {
		cost = float64(took-wk.lookupCost.took) / (float64(passed) / float64(time.Second))
	}
	wk.lookupCost.took, wk.lookupCost.at = took, now
	if e.set.Tombstones() > 0 {
		// A tombstone counts against the sequence numbers of single runs. The
		// window of a forgotten key passes; merging can wait for it.
		return nil
	}
	gs := e.window.held()
	for i, g := range gs {
		runs, keys := e.runsOf(g.number)
		if runs <= 1 || wk.damaged[g.number] {
			continue
		}
		live := i == len(gs)-1
		// Look-ups are taken to ask all generations alike. Of n runs a merge saves all but one.
		left := float64(g.end+int64(e.opts.Window)-now) / float64(time.Second)
		saves := cost / float64(len(gs)) * (1 - 1/float64(runs)) * left
		if runs > maxRuns || !live && saves > mergePays*mergeCost*float64(keys) {
			// One merge per call: the worker's other jobs have waited long enough by then.
			merged, err := e.merge(g.number, !live)
			if errors.Is(err, dedup.ErrCorrupt) {
				wk.damaged[g.number] = true // it would meet it again and again
			}
			if merged || err != nil {
				return err
			}
		}
	}
	return nil
}

// runsOf returns how many runs of a generation one look-up asks at most, and how many keys the
// generation has in runs. A look-up asks the runs of its shard, form and slot.
func (e *Engine) runsOf(generation uint64) (most int, keys uint64) {
	for shard := range e.opts.Shards {
		var count [hash.Forms][bloom.MaxGenerations]int
		for _, r := range e.store.list(shard) {
			if r.generation == generation {
				for slot := range count[r.form] {
					count[r.form][slot] += int(r.slots >> slot & 1)
					most = max(most, count[r.form][slot])
				}
				keys += r.run.Meta().Keys
			}
		}
	}
	return most, keys
}

// merge makes one run per shard and form out of a generation's segments. It takes all of them,
// or in a generation that still grows the smaller ones, so that a key is rewritten a few times
// at most. It reports whether it did.
func (e *Engine) merge(generation uint64, all bool) (merged bool, err error) {
	if e.diskFull.Load() {
		return false, nil
	}
	old, bytes, err := e.store.mergeable(generation, all, func(bytes int64) error {
		// A flush may need its room beside this.
		return e.checkFree(bytes + max(0, e.opts.MinFreeDisk))
	})
	if err != nil {
		e.opts.Logger.Debug("a merge waits for room", "generation", generation, "error", err)
		return false, nil // another time
	}
	if len(old) == 0 {
		return false, nil
	}
	defer e.phase("merge")()
	dst, err := e.store.newSegment(max(bytes, e.segmentBytes()))
	if err != nil {
		return false, err
	}
	m := merger{e: e, generation: generation, old: old, dst: dst, runs: make([][]*persist.Run, e.opts.Shards), took: map[uint64]bool{}}
	err = m.write()
	if err == nil {
		// Before the manifest names the runs (I5). The journal need not be synced first, as it is by
		// a flush: the old runs are in a manifest already, so their frames are on disk.
		err = dst.Sync()
	}
	if err == nil {
		return true, m.replace()
	}
	if errors.Is(err, persist.ErrRetired) {
		err = nil // the generation left the window on the way
	}
	// No manifest names it yet.
	return false, errors.Join(err, e.store.remove(map[uint64]bool{dst.ID(): true}))
}

// A merger is a merge under way.
type merger struct {
	e          *Engine
	generation uint64
	old        map[uint64]bool  // the segments that are replaced, by ID
	dst        *persist.Segment // in no generation's list of segments before replace
	runs       [][]*persist.Run // merged, by shard
	took       map[uint64]bool  // the old runs that are in them, by ID
	keys       uint64           // in runs; a key that was in two of the old ones counts once
}

func (m *merger) write() error {
	for shard := range m.runs {
		var byForm [hash.Forms][]*persist.Run
		for _, r := range m.e.store.list(shard) {
			if r.generation == m.generation && m.old[r.run.Segment().ID()] {
				byForm[r.form] = append(byForm[r.form], r.run)
				m.took[r.run.Meta().ID] = true
			}
		}
		for form, runs := range byForm {
			if len(runs) == 0 {
				continue
			}
			r, err := m.mergeRuns(shard, hash.Form(form), runs)
			if err != nil {
				return err
			}
			m.runs[shard] = append(m.runs[shard], r)
			m.keys += r.Meta().Keys
			m.e.startSync(m.dst)
		}
	}
	return nil
}

// mergeRuns merges the runs of a shard and form. The new run has the highest Seq and MaxPos of the
// old ones. So a snapshot covers it only if it covers all of them (restoreFilter), and its place in
// the order of runs is that of its newest keys. Tombstones ask for more: see replace.
func (m *merger) mergeRuns(shard int, form hash.Form, runs []*persist.Run) (*persist.Run, error) {
	spec := persist.RunSpec{ID: m.e.store.nextID(), Shard: uint16(shard), Form: uint8(form), Zeros: m.e.shardBits()}
	for _, r := range runs {
		meta := r.Meta()
		spec.Seq, spec.MaxPos = max(spec.Seq, meta.Seq), max(spec.MaxPos, meta.MaxPos)
	}
	return persist.MergeRuns(m.dst, spec, runs, func(key []byte) uint64 { return m.e.set.Order(m.e.hasher.Record(key)) })
}

// replace has the manifest name the merged runs in place of the old ones, switches the look-ups
// over and removes the old segments. Flushes and Forgets run beside a merge, so it looks once
// more, with the manifest locked, and gives the merge up if
//
//   - a flush has added a run to an old segment: it would be lost with the segment;
//   - a tombstone has come: it counts against the sequence numbers of single runs, of which
//     the merged run has only the highest.
func (m *merger) replace() error {
	stale := m.e.set.Tombstones() > 0
	err := m.e.store.update(func(manifest *persist.Manifest) {
		g := manifest.Generation(m.generation)
		if g == nil {
			stale = true
			return
		}
		before := uint64(0)
		kept := []persist.SegmentMeta{{ID: m.dst.ID()}}
		for _, s := range g.Segments {
			if !m.old[s.ID] {
				kept = append(kept, s)
				continue
			}
			for i := range s.Runs {
				stale = stale || !m.took[s.Runs[i].ID]
				before += s.Runs[i].Keys
			}
		}
		if stale {
			return
		}
		for _, runs := range m.runs {
			for _, r := range runs {
				kept[0].Runs = append(kept[0].Runs, r.Meta())
			}
		}
		g.Segments = kept
		g.Keys += m.keys - before
	})
	if isUnknown(err) {
		m.e.fail("writing the manifest", err)
		return err // the segment stays: the manifest on disk may name it
	}
	if stale || err != nil { // at a full disk another time
		return errors.Join(err, m.e.store.remove(map[uint64]bool{m.dst.ID(): true}))
	}
	// The old runs answer until their shard's turn comes, since their segments are still open. New
	// and old change in one step, so no look-up finds neither.
	for shard, runs := range m.runs {
		m.e.set.Install(shard, func() {
			// Retired since: see syncAndPublish.
			held := m.e.window.holds(m.generation)
			for _, r := range runs {
				if slots := m.e.store.slotsOf(shard, hash.Form(r.Meta().Form), m.old); held {
					m.e.store.install(shard, m.generation, slots, []*persist.Run{r})
				}
			}
			m.e.store.uninstall(shard, m.old)
		})
	}
	m.e.counts.merges.Add(1)
	m.e.counts.mergedKeys.Add(m.keys)
	m.e.removeDropped()
	return nil
}
