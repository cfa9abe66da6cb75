package engine

import (
	"errors"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
)

// growTo is how many times as large a filter gets at once: a rebuild costs the more keys the
// later it comes, so all of them together cost a third of the keys' marking.
const growTo = 4

// growAt is the least growth that is worth a rebuild.
const growAt = 1.5

// grow rebuilds the filters larger, from the runs, when more keys came than they have slots
// for (shards.Set.Crowded). Answers stay exact meanwhile. Without a store there
// is nothing to rebuild from: Stats tells the rate.
func (e *Engine) grow() error {
	defer e.growing.Store(false)
	capacity := e.capacity.Load()
	if e.opts.Mode == Approximate || !e.set.Crowded() || e.gapHeld() {
		return nil
	}
	if !e.canGrow() {
		return nil // Stats tells the rate
	}
	next := min(growTo*capacity, e.largestFilter())
	e.opts.Logger.Info("the stream is denser than expected: filters grow", "from", capacity, "to", next)
	for shard := range e.opts.Shards {
		// One shard after the other, so that only one filter is there twice. Answers are right after
		// an error between two of them, since a look-up asks one shard, but filters of two sizes
		// make no snapshot (shards.Set.Whole).
		if err := e.set.Grow(shard, e.filterConfig(next), func(add func(uint64, uint8, []uint64)) error {
			return e.eachOrder(shard, add)
		}, func(moved func(uint8) uint8) { e.store.move(shard, moved) }); err != nil {
			e.growthFailed.Store(errors.Is(err, dedup.ErrCorrupt))
			return err
		}
	}
	e.capacity.Store(next)
	e.counts.growths.Add(1)
	// The snapshots that there are, are of the old size: no opening can use them, and Close
	// would take their generations for written.
	e.snapshots.Clear()
	numbers, err := persist.ListSnapshots(e.fs, e.dir)
	e.removeSnapshots(numbers)
	return err
}

// canGrow reports whether the memory budget allows filters that are worth a rebuild, and none
// met damage.
func (e *Engine) canGrow() bool {
	return !e.growthFailed.Load() && float64(e.largestFilter()) >= growAt*float64(e.capacity.Load())
}

// largestFilter is the capacity whose filters take half of the memory budget. The other half is
// left to the tables and to what else the process needs (mostTableKeys).
func (e *Engine) largestFilter() uint64 {
	return uint64(float64(e.opts.MemoryBudget) / 2 / e.filterBytes(1))
}

func (e *Engine) filterBytes(capacity uint64) float64 { return e.opts.filterBytes(capacity) }

// eachOrder gives the orders of all runs of a shard, some of them more than once, which a filter
// does not mind. A run that is retired on the way has no keys of the window any more; one that
// was merged is found in the new list. So the list is gone through anew until no run was taken
// away on the way. The list must be read after the tables (shards.Set.Grow): a table that was
// flushed in between is a run in it.
func (e *Engine) eachOrder(shard int, add func(generation uint64, slots uint8, orders []uint64)) error {
	for {
		err := error(nil)
		list := e.store.list(shard)
		for _, entry := range list {
			if !e.window.holds(entry.generation) {
				continue
			}
			err = e.addRun(entry.run, func(orders []uint64) { add(entry.generation, entry.slots, orders) })
			if err != nil {
				break
			}
		}
		if err == nil || !errors.Is(err, persist.ErrRetired) || e.stop.Err() != nil {
			return err
		}
	}
}
