package engine

import (
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
	"github.com/firstseen/firstseen/shards"
)

// writeManifest replaces the manifest by one with new runs (I5), and with how far the runs of
// each shard reach in the journal.
func (fl *flusher) writeManifest(done []flushed, at moment) error {
	tables := map[*shards.Unflushed]bool{}
	for _, f := range done {
		tables[f.table] = true
	}
	tail := fl.e.tail(tables)
	// Frames below it that promise results are not read again: the manifest takes over.
	if err := fl.e.results.sync(); err != nil {
		return err
	}
	return fl.e.store.update(func(m *persist.Manifest) {
		fl.e.describe(m, at)
		for _, f := range done {
			g := m.Generation(f.table.Generation)
			// g is nil where the generation has left the window. Its keys need no run, but its frames
			// count as covered, so that their room comes back.
			if g != nil && len(f.runs) > 0 {
				sm := g.Segment(f.segment.ID())
				for _, r := range f.runs {
					meta := r.Meta()
					sm.Runs = append(sm.Runs, meta)
					if !meta.Tombstones {
						g.Keys += meta.Keys
					}
				}
			}
			m.Covered[f.table.Shard] = max(m.Covered[f.table.Shard], f.table.End)
		}
		m.Tail = max(m.Tail, tail)
	})
}

// A moment is a time that a manifest may tell, by both clocks, and what had settled of the
// results by then. Whoever writes it there has synced the journal since it was read, so that
// a crash takes no mark whose call had returned by then, and none whose result counts as
// settled.
type moment struct {
	clock, wall int64 // ns: the engine's clock and the wall's, read one after the other
	settled     []settled
}

func (e *Engine) moment() moment {
	return moment{clock: e.clock.read(), wall: e.clock.wall(), settled: e.results.settled()}
}

// describe brings the manifest's list of generations up to date.
//
// It reads them while the manifest is locked: of two writers the later one must
// not bring back what the earlier one knew to be over.
func (e *Engine) describe(m *persist.Manifest, at moment) {
	generations, old := e.window.held(), m.Generations
	m.Generations = make([]persist.GenerationMeta, 0, len(generations))
	for _, g := range generations {
		gm := persist.GenerationMeta{Number: g.number}
		for i := range old {
			if old[i].Number == g.number {
				gm = old[i]
			}
		}
		gm.Start, gm.End = g.start, g.end
		m.Generations = append(m.Generations, gm)
	}
	m.Lost = heldGaps(m.Lost, generations)
	e.results.promiseSettled(at.settled)
	m.Results = e.results.metas(generations[0].number)
	// One that was read before a step of the wall may come after the one that tells
	// of it (persistStep).
	if at.clock > m.Clock {
		m.Clock, m.Wall = at.clock, at.wall
	} else if at.clock == m.Clock {
		m.Wall = max(m.Wall, at.wall)
	}
	// With the options that frames are written with from now on, a replay can tell which slots
	// they had: see mayReuse.
	m.Window, m.Span = int64(e.opts.Window), int64(e.opts.span())
	m.Capacity = e.capacity.Load()
}

// tail is the position in the journal below which the next opening needs no frame, once
// a manifest is written: keys are in tables but for those in done, whose runs that manifest
// promises, and rotations are in the manifest itself. Every manifest tells it and not just
// a flush's: where nothing but the time moves on there is nothing to flush, and rotations
// would fill the ring for good.
//
// It may lie beyond what was synced, since a flush reads it after its sync: between the two are
// only pads, rotations, which the manifest has, and frames of results, which results.sync makes
// durable before the manifest is written. If a power loss takes them, the replay begins and ends
// at the tail.
//
// Without a store the frames are needed until a snapshot covers them.
func (e *Engine) tail(done map[*shards.Unflushed]bool) journal.Pos {
	if e.opts.Mode == Approximate {
		return 0
	}
	return e.set.LogTail(e.journal.State().End, done)
}

// releaseJournal gives back what the manifest on disk no longer needs. It asks that one and not its
// caller's tail: until a manifest is on disk an opening reads from the tail before.
func (e *Engine) releaseJournal() {
	e.store.view(func(m *persist.Manifest) { e.journal.Release(m.Tail) })
}
