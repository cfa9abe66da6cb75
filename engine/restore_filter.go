package engine

import (
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// restoreFilter takes a generation's bits from its snapshot, and notes the runs that are
// younger than it: rebuild adds their keys. Without a usable snapshot those are all runs. lost
// are the generation's runs that could not be opened. If their keys are not in the snapshot
// they are in no filter, and the generation is blind.
func (rc *recovery) restoreFilter(g *persist.GenerationMeta, byShard [][]*persist.Run, lost map[uint64]persist.RunMeta) error {
	positions, usable, err := rc.restoreBits(g)
	if err != nil || rc.e.opts.Mode == Approximate {
		return err
	}
	// A snapshot holds every key journaled below its position, so it has a run's keys if all of
	// them were journaled below it.
	covers := func(m persist.RunMeta) bool { return usable && m.MaxPos <= positions[m.Shard] }
	blind := !usable && rc.hasGap(g.Number)
	for _, m := range lost {
		blind = blind || !m.Tombstones && !covers(m)
	}
	if blind {
		rc.blind(g.Number) // the lost runs' keys are in no filter
	}
	before := len(rc.younger)
	for _, runs := range byShard {
		for _, r := range runs {
			if m := r.Meta(); m.Tombstones || covers(m) {
				continue
			}
			rc.younger = append(rc.younger, youngerRun{run: r, slot: rc.e.store.slot(r), g: g})
		}
	}
	if len(rc.younger) > before {
		rc.stats.Rebuilt++
	}
	return nil
}

// restoreBits takes a generation's bits from its snapshot. usable says whether it could, and
// positions how far in the journal the bits reach, shard by shard. With a store a snapshot is
// a short cut and may be missing or damaged; without one the bits are all there is, so that is
// a gap.
func (rc *recovery) restoreBits(g *persist.GenerationMeta) (positions []journal.Pos, usable bool, err error) {
	e := rc.e
	positions, sealed, err := e.loadSnapshot(generation{g.Number, g.Start, g.End})
	if err == nil {
		err = g.CheckSnapshot(e.dir, slices.Min(positions))
	}
	switch {
	case err == nil:
		// One made while the generation was live lacks its last keys: Close is to write another.
		if sealed {
			e.snapshots.Store(g.Number, true)
		}
		return positions, true, nil
	case e.opts.Mode == Exact:
		if !errors.Is(err, fs.ErrNotExist) {
			e.opts.Logger.Warn("a filter snapshot can't be used, the filter is rebuilt", "generation", g.Number, "error", err)
		}
		return nil, false, nil
	case errors.Is(err, dedup.ErrIncompatible):
		return nil, false, err // whole, and no gap
	case errors.Is(err, fs.ErrNotExist) && g.Snapshot == 0:
		// An approximate engine before its first snapshot: the journal has it all.
		return nil, false, nil
	}
	err = persist.Required(err, persist.SnapshotPath(e.dir, g.Number))
	if err := rc.gap(g, err); err != nil {
		return nil, false, err
	}
	rc.blind(g.Number)
	return nil, false, nil
}

// A youngerRun is one whose keys its generation's filter lacks.
type youngerRun struct {
	run  *persist.Run
	slot int // of the filter
	g    *persist.GenerationMeta
	err  error // set by the worker that has the run's shard; read when all workers have ended
}

// rebuild adds the keys of all younger runs to the filters, on all processors, a shard at a
// time: two workers in one filter would overlap. 100 M keys in 560 runs take 2 s
// (docs/decisions/006).
func (rc *recovery) rebuild() error {
	byShard := make([][]*youngerRun, rc.e.opts.Shards)
	for i := range rc.younger {
		r := &rc.younger[i]
		shard := r.run.Meta().Shard
		byShard[shard] = append(byShard[shard], r)
	}
	var workers sync.WaitGroup
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for shard := int(next.Add(1)) - 1; shard < len(byShard); shard = int(next.Add(1)) - 1 {
				rc.addRuns(shard, byShard[shard])
			}
		})
	}
	workers.Wait()
	for i := range rc.younger {
		r := &rc.younger[i]
		if r.err == nil {
			continue
		}
		if err := rc.gap(r.g, r.err); err != nil {
			return err
		}
		// Some of the run's keys may be in the filter, but nobody knows which.
		rc.blind(r.g.Number)
	}
	rc.younger = nil
	return nil
}

// addRuns adds the keys of a shard's runs to its filter: all of them together, a piece
// of the filter after the other. One run after the other would bring each of its
// lines from memory once a run (100 M keys in 560 runs: an opening of 4 s instead of 2).
func (rc *recovery) addRuns(shard int, runs []*youngerRun) {
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
			more, err := cursors[i].Until(end, func(b *persist.Block) { orders = rc.e.appendOrders(orders, fixed[i], b) })
			rc.e.set.AddOrders(shard, r.slot, orders)
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
			runtime.Gosched()
		}
		return nil
	})
	add(orders)
	return err
}
