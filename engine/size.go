package engine

import (
	"errors"
	"math"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/shards"
)

// How large filters, tables and the ring are. They begin with a hint or with what the
// directory remembers of its generations, and then follow the stream: tables and ring here,
// filters in grow.go.

// fixedMemory is what the process needs besides filters and tables: Badger's
// instances, the Go heap, scratch.
const fixedMemory = 96 << 20

const (
	// firstTableKeys is what tables take at first where nothing is known: a set of them 25 MB.
	firstTableKeys = 64 << 10
	// firstCapacity is the keys within a window that filters are made for then: 14 MB.
	firstCapacity = 4_000_000
	// mostUnflushed is what a set of tables takes at most, whatever the memory: 600 MB for
	// three sets, and half a gigabyte of ring.
	mostUnflushed = 8 << 20
	// fastGrowth is up to how many keys of a set of tables the next one is four times as
	// large at once. Above it is twice as large, and a generation must have filled two sets:
	// the larger they are the more memory is at stake.
	fastGrowth = 1 << 20
)

// settleCapacity decides how many keys per window the filters are made for: the hint, or what
// the directory has grown to if its stream is still as dense.
func (e *Engine) settleCapacity(m *persist.Manifest) {
	capacity := e.opts.Capacity
	if !e.opts.hinted && e.opts.Mode == Exact {
		capacity = firstCapacity
	}
	if m.Capacity > capacity {
		for _, g := range m.Generations {
			if g.Keys*uint64(e.opts.Generations-1) > capacity {
				capacity = m.Capacity
			}
		}
	}
	capacity = max(1, min(capacity, e.largestFilter()))
	if e.opts.Mode == Approximate && m.Capacity > 0 {
		capacity = m.Capacity // its filters are all there is, and can't be made anew
	}
	e.capacity.Store(capacity)
}

// defaultBudget is the memory budget where a process may take limit bytes: half of a small
// container, which has the rest for the caller and the cache of the operating system, and a
// quarter of what is larger, or what a hint needs. Where no limit is known it is 400 MB and 4
// bytes per key.
func defaultBudget(limit int64, capacity uint64) int64 {
	usual := 400e6 + 4*float64(capacity)
	if limit > 0 {
		usual = min(float64(limit)/2, max(usual, float64(limit)/4))
	}
	return int64(min(usual, 1<<62))
}

// filterConfig sizes one shard's filter. All slots together hold a window and
// one generation.
func (e *Engine) filterConfig(capacity uint64) bloom.Config {
	g := uint64(e.opts.Generations)
	return bloom.Config{
		Keys:        max(1, capacity*g/(g-1)/uint64(e.opts.Shards)),
		BitsPerKey:  e.opts.BitsPerKey,
		Generations: e.opts.Generations,
	}
}

// firstTables is how many unflushed keys a shard's table takes at first: see tableKeys. With
// neither a hint nor a memory they begin small.
func (e *Engine) firstTables(m *persist.Manifest) int {
	if e.opts.tableKeys > 0 {
		return e.opts.tableKeys
	}
	keys := uint64(0)
	if e.opts.hinted {
		keys = e.opts.Capacity / uint64(e.opts.Generations-1)
	}
	for _, g := range m.Generations {
		keys = max(keys, g.Keys)
	}
	if keys == 0 {
		return int(min(firstTableKeys, e.mostTableKeys()))
	}
	return e.tableKeys(keys)
}

// tableMargin is by how much tables are larger than the fullest generation needs.
const tableMargin = 1.1

// tableKeys is how many unflushed keys a shard's table takes where a generation has that
// many: its share in as few equal parts, each a run, as the memory budget allows. A tenth
// more, so that a generation a little fuller still fits.
func (e *Engine) tableKeys(generation uint64) int {
	share := tableMargin * float64(generation) / float64(e.opts.Shards)
	parts := max(1, math.Ceil(share/max(1, e.mostTableKeys())))
	return max(minTableKeys, int(share/parts))
}

// mostTableKeys is what the memory budget leaves for a table beside the filters. An eighth of the
// budget is for tables in any case: filters that fill it must not leave tables of a few keys, of
// which each becomes a run.
func (e *Engine) mostTableKeys() float64 {
	budget := float64(e.opts.MemoryBudget)
	budget = max(budget-e.filterBytes(e.capacity.Load())-float64(fixedMemory), budget/8)
	key := float64(shards.TableKeyBytes)
	if e.opts.KeyBytes > fixedSpace || e.set != nil && e.set.HasRecords() {
		key += shards.ArenaPerKey
	}
	return min(budget/shards.TableSets/key, mostUnflushed) / float64(e.opts.Shards)
}

// ringFor is the ring for tables of so many keys: one more than there are, for headers.
func (e *Engine) ringFor(tableKeys int) int64 {
	return max(minRing, (shards.TableSets+1)*e.opts.recordBytes()*int64(tableKeys)*int64(e.opts.Shards))
}

// ringMost is what the ring grows to where it is full before the tables are: with records
// of the longest usual length, and headers that outweigh them in calls of one key.
func (e *Engine) ringMost() int64 {
	return max(minRing, (shards.TableSets+1)*2*shards.ArenaPerKey*int64(e.set.MaxKeys())*int64(e.opts.Shards))
}

// watchSizes is called by the maintenance. Tables that are full before their generation is
// over are made larger, since each of them becomes a run to look into and to merge. After a
// rotation they are fitted to the fullest generation, and new ones are made before callers
// need them. The work runs in a goroutine of its own, because it waits for the disk.
func (e *Engine) watchSizes() {
	if e.opts.Mode != Exact || e.resizing.Load() {
		return
	}
	if e.opts.tableKeys == 0 || e.opts.resizes {
		if e.fitDue.Swap(false) {
			e.resize(e.fitTables)
			return
		}
		if keys := e.set.MaxKeys(); e.set.Filled() > e.opts.Shards/2 && keys*e.opts.Shards < fastGrowth {
			e.resize(func() error { return e.setTables(min(4*keys, int(e.mostTableKeys()))) })
			return
		} else if e.set.Filled() >= 2*e.opts.Shards {
			e.resize(func() error { return e.setTables(min(2*keys, int(e.mostTableKeys()))) })
			return
		}
	}
	if e.set.WantsTables() {
		e.resize(e.set.AddTables)
	}
}

// resize does something to the sizes of tables and ring, one thing at a time. Only the maintenance
// calls it. While it is at work others are dropped, not queued: the next pass finds that the size
// still does not fit, and fitDue and the counts of full tables are kept until then.
func (e *Engine) resize(do func() error) {
	if !e.resizing.CompareAndSwap(false, true) {
		return
	}
	e.running.Go(func() {
		defer e.resizing.Store(false)
		if err := do(); err != nil && e.stop.Err() == nil {
			e.worker.failed(err)
		}
	})
}

// fitTables sizes the tables by the fullest generation of the window that is over. The manifest
// counts only keys in runs, and those of the last generation may still be waiting for their flush,
// so the set is asked for that one.
func (e *Engine) fitTables() error {
	fullest, sealed := e.set.LastKeys(), 0
	e.store.view(func(m *persist.Manifest) {
		for _, g := range m.Generations[:len(m.Generations)-1] {
			fullest = max(fullest, g.Keys)
			sealed++
		}
	})
	if fullest == 0 {
		return nil
	}
	// What fits is left alone: a stream that grows a little would have all tables made anew at
	// each rotation.
	fit := e.tableKeys(fullest)
	if now := e.set.MaxKeys(); float64(fit) > tableMargin*float64(now) || sealed >= shrinkAfter && shrinkBelow*fit < now {
		return e.setTables(fit)
	}
	return nil
}

// Tables shrink when this many generations that are over would have fitted into tables of
// less than that part of their size: a quiet hour is no reason.
const shrinkAfter, shrinkBelow = 3, 3

// setTables changes how many keys tables take, and then makes the ring fit. The ring takes the
// disk's time: if it came first, callers would fill small tables meanwhile and wait for one flush
// after the other. A ring that can't grow is full before larger tables are, so those are made
// smaller again.
func (e *Engine) setTables(keys int) error {
	now := e.set.MaxKeys()
	if err := e.setMaxKeys(keys); err != nil {
		return err
	}
	if err := e.setRing(e.ringFor(keys)); err != nil {
		return err
	}
	perKey := (shards.TableSets + 1) * e.opts.recordBytes() * int64(e.opts.Shards)
	return e.setMaxKeys(min(keys, max(now, int(2*e.journal.State().RingBytes/perKey))))
}

func (e *Engine) setMaxKeys(keys int) error {
	now := e.set.MaxKeys()
	if keys == now {
		return nil
	}
	e.opts.Logger.Info("tables change their size", "from", now, "to", keys)
	return e.set.SetMaxKeys(keys, e.opts.Shards)
}

// growRing doubles the ring: it was half full before the tables were full.
func (e *Engine) growRing() error {
	return e.setRing(min(2*e.journal.State().RingBytes, e.ringMost()))
}

// setRing makes the ring that large if it is smaller. Where the disk has no room it stays
// as it is: flushes come earlier then.
func (e *Engine) setRing(bytes int64) error {
	s := e.journal.State()
	if bytes = min(bytes, s.MaxRing); bytes <= s.RingBytes {
		return nil
	}
	err := e.checkFree(bytes - s.RingBytes + max(0, e.opts.MinFreeDisk))
	if err == nil {
		err = e.journal.Grow(bytes)
	}
	if errors.Is(err, dedup.ErrDiskFull) && !errors.Is(err, dedup.ErrFailed) {
		e.opts.Logger.Debug("the ring is not made larger", "error", err)
		return nil
	}
	return err
}
