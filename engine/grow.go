package engine

import (
	"errors"

	"github.com/firstseen/firstseen/persist"
)

// growAt is how much fuller than planned a generation gets before its filter is
// rebuilt: at 1.5 times the keys about twice as many fresh keys are "maybe".
const growAt = 1.5

// grow rebuilds the filters larger, from the runs, when the stream is denser
// than they were made for. Answers stay exact meanwhile. Without a store there
// is nothing to rebuild from: Stats tells the rate.
func (e *Engine) grow() error {
	capacity := e.capacity.Load()
	per := float64(capacity) / float64(e.opts.Generations-1)
	keys := float64(e.fullestGeneration())
	if e.opts.Mode == Approximate || keys < growAt*per || e.gapHeld() {
		return nil
	}
	// Twice what came so far: the live generation is not over, and each rebuild
	// costs as much as the last ones together.
	next := uint64(2 * keys * float64(e.opts.Generations-1))
	next = min(next, e.largestFilter())
	if float64(next) < growAt*float64(capacity) {
		return nil // what the memory budget allows; Stats tells the rate
	}
	e.opts.Logger.Info("the stream is denser than expected: filters grow", "from", capacity, "to", next)
	for shard := range e.opts.Shards {
		if err := e.set.Grow(shard, e.filterConfig(next), func(add func(uint64, []uint64)) error {
			return e.eachOrder(shard, add)
		}); err != nil {
			return err
		}
	}
	e.capacity.Store(next)
	e.counts.growths.Add(1)
	// The snapshots that there are, are of the old size.
	e.snapshots.Clear()
	numbers, err := persist.ListSnapshots(e.fs, e.dir)
	e.removeSnapshots(numbers)
	return err
}

// fullestGeneration estimates the keys of the fullest generation; the live one
// counts as far as it has come.
func (e *Engine) fullestGeneration() uint64 {
	keys := e.set.LiveKeys()
	e.store.view(func(m *persist.Manifest) {
		for _, g := range m.Generations {
			keys = max(keys, g.Keys)
		}
	})
	return keys
}

// largestFilter is the capacity whose filters take half of the memory budget.
func (e *Engine) largestFilter() uint64 {
	return uint64(float64(e.opts.MemoryBudget) / 2 / e.filterBytes(1))
}

func (e *Engine) filterBytes(capacity uint64) float64 { return e.opts.filterBytes(capacity) }

// eachOrder gives the orders of all runs of a shard. A run that is retired on the
// way has no keys of the window any more; one that was merged is found in the
// new list.
func (e *Engine) eachOrder(shard int, add func(generation uint64, orders []uint64)) error {
	for {
		err := error(nil)
		list := e.store.list(shard)
		for _, entry := range list {
			if !e.isHeld(entry.generation) {
				continue
			}
			err = e.addRun(entry.run, func(orders []uint64) { add(entry.generation, orders) })
			if err != nil {
				break
			}
		}
		if err == nil || !errors.Is(err, persist.ErrRetired) || e.stop.Err() != nil {
			return err
		}
	}
}
