package shards

import (
	"runtime"

	"github.com/firstseen/firstseen/bloom"
)

// Grow rebuilds one shard's filter larger while calls go on: from its first
// moment every mark goes to both filters, then all keys that were there before
// are added to the larger one, then it takes the other's place. Generations
// must not be read by Column meanwhile. add is given a function for the
// orders of a generation's runs and must have called it for all of them when it
// returns; the unflushed keys are added before it is called.
func (s *Set) Grow(shard int, c bloom.Config, add func(add func(generation uint64, orders []uint64)) error) error {
	larger, err := bloom.New(s.c.Kind, c)
	if err != nil {
		return err
	}
	larger.Touch()
	sh := &s.shards[shard]
	sh.lockLater()
	sh.larger = larger
	tables := append(append([]*Unflushed(nil), sh.sealed...), sh.active)
	sh.mu.Unlock()
	for _, u := range tables {
		sh.addUnflushed(u)
	}
	if err := add(sh.addLarger); err != nil {
		sh.lockLater()
		sh.larger = nil
		sh.mu.Unlock()
		larger.Close()
		return err
	}
	sh.lockLater()
	old := *sh.filter.Swap(&larger)
	sh.larger = nil
	sh.mu.Unlock()
	// A prefetch may still have it in hand, without a lock: the memory goes when
	// nobody has.
	runtime.SetFinalizer(old, func(f bloom.Filter) { f.Close() })
	return nil
}

// addLarger adds orders to the larger filter, unless their generation's slot
// belongs to a newer one by now.
func (s *shard) addLarger(generation uint64, orders []uint64) {
	s.lockLater()
	defer s.mu.Unlock()
	if generation+uint64(s.set.c.Generations) > s.generation {
		s.larger.AddBatch(s.set.Slot(generation), orders)
	}
}

// addUnflushed adds the keys of a table to the larger filter. A table that was
// flushed meanwhile is a run, and those are added later.
func (s *shard) addUnflushed(u *Unflushed) {
	s.lockLater()
	defer s.mu.Unlock()
	if u != s.active && !s.isSealed(u) {
		return
	}
	slot := s.set.Slot(u.Generation)
	orders := make([]uint64, 0, MaxPart)
	for _, t := range u.tables {
		if t == nil {
			continue
		}
		for p := range t.all() {
			if orders = append(orders, p.Hi<<s.set.shardBits); len(orders) == cap(orders) {
				s.larger.AddBatch(slot, orders)
				orders = orders[:0]
			}
		}
		s.larger.AddBatch(slot, orders)
		orders = orders[:0]
	}
}

func (s *shard) isSealed(u *Unflushed) bool {
	for _, t := range s.sealed {
		if t == u {
			return true
		}
	}
	return false
}
