package engine

import (
	"errors"
	"time"

	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/persist"
)

const (
	// maxRuns is how many runs of a form a shard may have in a sealed generation
	// before they are merged whatever it pays.
	maxRuns = 8
	// What merging a key costs and asking one more run costs, ns (facts).
	mergeCost, askCost = 60, 250
	// mergePays is how many times its cost a merge has to save.
	mergePays = 4
)

// mergeDue merges the runs of one sealed generation into one run a shard and
// form, when the look-ups of the last interval say that it pays in the
// generation's remaining life, or when there are too many. The result goes to a
// segment of its own, and the old ones are removed as a whole: no tombstones,
// no compaction.
func (e *Engine) mergeDue() error {
	asked := e.counts.runsAsked.Load()
	now := e.clock.read()
	rate := 0.0
	if passed := now - e.merging.at; e.merging.at != 0 && passed > 0 {
		rate = float64(asked-e.merging.asked) / (float64(passed) / float64(time.Second))
	}
	e.merging.asked, e.merging.at = asked, now
	gs := e.heldGenerations()
	for _, g := range gs[:len(gs)-1] {
		runs, keys, stones := e.runsOf(g.number)
		if runs <= 1 || stones {
			continue
		}
		left := float64(g.end+int64(e.opts.Window)-now) / float64(time.Second)
		saves := rate / float64(len(gs)) * (1 - 1/float64(runs)) * left * askCost
		if runs > maxRuns || saves > mergePays*mergeCost*float64(keys) {
			return e.merge(g)
		}
	}
	return nil
}

// runsOf returns the most runs that a shard and form has in a generation, the
// generation's keys in runs, and whether tombstones forbid a merge.
func (e *Engine) runsOf(generation uint64) (most int, keys uint64, stones bool) {
	for shard := range e.opts.Shards {
		var count [hash.Forms]int
		for _, r := range e.store.list(shard) {
			if r.generation == generation {
				count[r.form]++
				most = max(most, count[r.form])
				keys += r.run.Meta().Keys
			}
		}
	}
	e.store.view(func(m *persist.Manifest) {
		for i := range m.Generations {
			for _, s := range m.Generations[i].Segments {
				for _, r := range s.Runs {
					stones = stones || r.Tombstones
				}
			}
		}
	})
	// A tombstone counts against the sequence numbers of single runs; the window
	// of one forgotten key passes, merging can wait for it.
	return most, keys, stones || e.set.Tombstones() > 0
}

func (e *Engine) merge(g generation) error {
	if err := e.checkFree(e.segmentBytes()); err != nil {
		return nil //nolint:nilerr // no room now; another time
	}
	dst, err := e.store.newSegment(e.segmentBytes())
	if err != nil {
		return err
	}
	merged := make([][]*persist.Run, e.opts.Shards)
	old := map[uint64]bool{}
	var keys uint64
	for shard := range e.opts.Shards {
		var byForm [hash.Forms][]*persist.Run
		for _, r := range e.store.list(shard) {
			if r.generation == g.number {
				byForm[r.form] = append(byForm[r.form], r.run)
				old[r.run.Segment().ID()] = true
			}
		}
		for form, runs := range byForm {
			if len(runs) == 0 {
				continue
			}
			r, err := e.mergeRuns(dst, shard, hash.Form(form), runs)
			if err != nil {
				gone := map[uint64]bool{dst.ID(): true}
				return errors.Join(ignoreRetired(err), e.store.remove(gone))
			}
			merged[shard] = append(merged[shard], r)
			keys += r.Meta().Keys
		}
	}
	if err := dst.Sync(); err != nil {
		return err
	}
	return e.replaceRuns(g, dst, merged, old, keys)
}

func ignoreRetired(err error) error {
	if errors.Is(err, persist.ErrRetired) {
		return nil
	}
	return err
}

func (e *Engine) mergeRuns(dst *persist.Segment, shard int, form hash.Form, runs []*persist.Run) (*persist.Run, error) {
	spec := persist.RunSpec{ID: e.store.nextID(), Shard: uint16(shard), Form: uint8(form)}
	for _, r := range runs {
		m := r.Meta()
		spec.Seq, spec.MaxPos = max(spec.Seq, m.Seq), max(spec.MaxPos, m.MaxPos)
	}
	return persist.MergeRuns(dst, spec, runs, func(_ uint8, hi uint64, key []byte) uint64 {
		if key != nil {
			hi = e.hasher.Record(key)
		}
		return e.set.Order(hi)
	}, nil)
}

// replaceRuns promises the merged runs in place of the old ones, switches the
// look-ups over and removes the old segments. Runs that were flushed to them
// meanwhile are not lost: a sealed generation gets none, but for tables that
// were still waiting, and then the merge is given up.
func (e *Engine) replaceRuns(g generation, dst *persist.Segment, merged [][]*persist.Run, old map[uint64]bool, keys uint64) error {
	stale := false
	err := e.store.update(func(m *persist.Manifest) {
		gm := generationMeta(m, g.number)
		if gm == nil {
			stale = true
			return
		}
		have := uint64(0)
		for _, s := range gm.Segments {
			for _, r := range s.Runs {
				have += r.Keys
			}
		}
		if have != gm.Keys || have < keys || e.set.Pending(g.number) {
			stale = true
			return
		}
		sm := persist.SegmentMeta{ID: dst.ID()}
		for _, runs := range merged {
			for _, r := range runs {
				sm.Runs = append(sm.Runs, r.Meta())
			}
		}
		gm.Segments, gm.Keys = []persist.SegmentMeta{sm}, keys
	})
	if err != nil {
		return err
	}
	if stale {
		return e.store.remove(map[uint64]bool{dst.ID(): true})
	}
	for shard := range e.opts.Shards {
		e.set.Install(shard, func() {
			e.store.uninstall(shard, old)
			e.store.install(shard, g.number, merged[shard])
		})
	}
	e.counts.merges.Add(1)
	e.counts.mergedKeys.Add(keys)
	return e.store.remove(old)
}
