package engine

import (
	"fmt"
	"io"
	"slices"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// snapshot writes the filters of sealed generations that have no snapshot yet, and with live
// also that of the live one. Only the worker calls it, and Close when the worker has ended.
func (e *Engine) snapshot(live bool) error {
	// Read before any bits (see writeSnapshot), and before the generations: one whose frame lies
	// below end is in the list then, and coverBySnapshots speaks for it.
	end, at := e.journal.State().End, e.moment()
	gs := e.window.held()
	for i, g := range gs {
		isLive := i == len(gs)-1
		if isLive && !live || !isLive && e.hasSnapshot(g.number) {
			continue
		}
		if e.opts.Mode == Exact && !e.set.Whole(g.number) {
			e.removeSnapshots([]uint64{g.number}) // an opening takes its bits from the runs
			continue
		}
		if err := e.writeSnapshot(g); err != nil {
			return err
		}
		if !e.window.holds(g.number) {
			// It was retired meanwhile, and its slot may have been reused: the bits may be of another
			// generation.
			e.removeSnapshots([]uint64{g.number})
			continue
		}
		if !isLive {
			e.snapshots.Store(g.number, true)
		}
	}
	if live && e.opts.Mode == Approximate {
		return e.coverBySnapshots(end, at)
	}
	return nil
}

// hasSnapshot reports whether a sealed generation has a snapshot of the present
// filter. One of the live generation does not count, since keys have come after it.
func (e *Engine) hasSnapshot(number uint64) bool {
	_, ok := e.snapshots.Load(number)
	return ok
}

// writeSnapshot writes one generation's bits, while calls go on (I1):
//
//  1. The journal's end is read. A key's bits are set before its frame is appended, so every
//     key with a frame below this position has its bits.
//  2. The bits are read. They hold those keys and some that were marked meanwhile; more never
//     hurts a filter.
//  3. The journal is synced, so that it has all keys whose bits were read: otherwise a power
//     loss could leave a filter that knows a key which nobody marked. Where the filter
//     decides alone that would be a wrong Duplicate.
//  4. The file gets its name, with the position of 1: a restore adds what comes after it.
func (e *Engine) writeSnapshot(g generation) error {
	h := bloom.SnapshotHeader{
		Kind:        e.opts.Filter,
		Hashes:      e.set.Hashes(),
		Generations: e.opts.Generations,
		Generation:  g.number,
		Start:       g.start,
		End:         g.end,
		SlotBytes:   e.set.SlotBytes(),
		Positions:   make([]uint64, e.opts.Shards),
	}
	// One position for all shards, since the bits of each are read after it.
	end := e.journal.State().End
	for i := range h.Positions {
		h.Positions[i] = end
	}
	e.store.view(func(m *persist.Manifest) {
		if gm := m.Generation(g.number); gm != nil {
			h.Keys = gm.Keys
		}
	})
	var column []byte
	err := persist.WriteSnapshot(e.fs, e.dir, g.number, func(w io.Writer) error {
		sw, err := bloom.NewSnapshotWriter(w, h)
		if err != nil {
			return err
		}
		for i := range e.opts.Shards {
			column = e.set.Column(i, g.number, column)
			if err := sw.WriteShard(column); err != nil {
				return err
			}
		}
		if err := e.journal.Sync(); err != nil {
			return err
		}
		return sw.Close()
	})
	if err == nil {
		// For coverBySnapshots, which promises the file only when all generations have theirs.
		e.worker.snapshotEnds[g.number] = end
	}
	return err
}

// coverBySnapshots writes a manifest that says that every frame up to end is in a snapshot.
// That is so because bits are set before a frame is appended, and the bits of all generations
// were read after end. Only without a store: with one, runs cover frames.
func (e *Engine) coverBySnapshots(end journal.Pos, at moment) error {
	err := e.store.update(func(m *persist.Manifest) {
		e.describe(m, at)
		for i := range m.Covered {
			m.Covered[i] = max(m.Covered[i], end)
		}
		// From here on a snapshot that is missing is a gap: the frames are going to be overwritten.
		for i := range m.Generations {
			g := &m.Generations[i]
			g.Snapshot = max(g.Snapshot, e.worker.snapshotEnds[g.Number])
		}
		m.Tail = max(m.Tail, end)
	})
	if err == nil {
		e.releaseJournal()
	}
	return err
}

// loadSnapshot merges a generation's snapshot into the filter and returns the
// positions up to which it holds each shard's keys. After an error some shards' bits may have been
// merged already: right ones, since each shard is checked as a whole, and more never hurt.
func (e *Engine) loadSnapshot(g generation) (positions []uint64, sealed bool, err error) {
	f, err := persist.OpenSnapshotFile(e.fs, e.dir, g.number)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, false, err
	}
	snap, err := bloom.OpenSnapshot(f, size, persist.SnapshotPath(e.dir, g.number))
	if err != nil {
		return nil, false, err
	}
	h := snap.Header()
	if h.Kind != e.opts.Filter || h.Hashes != e.set.Hashes() || h.SlotBytes != e.set.SlotBytes() ||
		len(h.Positions) != e.opts.Shards || h.Generation != g.number {
		return nil, false, fmt.Errorf("%w: the filter of generation %d is %v with %d hashes, %d bytes and %d generations, the options ask for %v with %d, %d and %d: "+
			"Filter, BitsPerKey and Generations can't be changed in Approximate mode", dedup.ErrIncompatible, g.number,
			h.Kind, h.Hashes, h.SlotBytes, h.Generations, e.opts.Filter, e.set.Hashes(), e.set.SlotBytes(), e.opts.Generations)
	}
	var column []byte
	for i := range e.opts.Shards {
		if column, err = snap.ReadShard(i, column); err != nil {
			return nil, false, err
		}
		if err := e.set.MergeColumn(i, g.number, column); err != nil {
			return nil, false, err
		}
	}
	e.worker.snapshotEnds[g.number] = slices.Min(h.Positions)
	return slices.Clone(h.Positions), h.End != 0, nil
}

// removeOldSnapshots removes the snapshots of generations that the manifest no longer names. The
// window does not count here: until a manifest without them is on disk an opening reads them.
func (e *Engine) removeOldSnapshots() {
	oldest := uint64(0)
	e.store.view(func(m *persist.Manifest) { oldest = m.Generations[0].Number })
	numbers, err := persist.ListSnapshots(e.fs, e.dir)
	if err != nil {
		e.opts.Logger.Warn("listing the snapshots", "error", err)
	}
	e.removeSnapshots(slices.DeleteFunc(numbers, func(n uint64) bool { return n >= oldest }))
}

// removeSnapshots is for the worker, which owns snapshotEnds, and for Open and Close.
func (e *Engine) removeSnapshots(numbers []uint64) {
	for _, n := range numbers {
		e.snapshots.Delete(n)
		delete(e.worker.snapshotEnds, n)
		if err := persist.RemoveSnapshot(e.fs, e.dir, n); err != nil {
			e.opts.Logger.Warn("removing a retired snapshot", "generation", n, "error", err)
		}
	}
}
