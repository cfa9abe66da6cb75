package shards

import (
	"math/bits"
	"runtime"

	"github.com/firstseen/firstseen/bloom"
)

// Grow rebuilds one shard's filter larger, or smaller, while calls go on: from its first
// moment every mark goes to both filters, then all keys that were there before
// are added to the new one, then it takes the other's place. Generations
// must not be read by Column meanwhile. add is given a function for the
// orders of a generation's runs and the slots that they are in, and must have called it for
// all of them when it returns; the unflushed keys are added before it is called. install is called
// with the shard locked: it must have look-ups ask the runs for the slots that moved
// gives in the place of theirs.
func (s *Set) Grow(shard int, c bloom.Config, add func(add func(generation uint64, slots uint8, orders []uint64)) error,
	install func(moved func(slots uint8) uint8)) error {
	larger, err := newFilter(s.c.Kind, c)
	if err != nil {
		return err
	}
	larger.Touch()
	sh := &s.shards[shard]
	sh.lockLater()
	sh.larger, sh.growing = larger, growing{slots: newSlots(c)}
	g := &sh.growing
	g.move = sh.slots.pack(&g.slots)
	g.live = int(g.move[sh.slot])
	tables := append(append([]*Unflushed(nil), sh.sealed...), sh.active)
	sh.mu.Unlock()
	for _, u := range tables {
		sh.addUnflushed(u)
	}
	if err := add(sh.addLarger); err != nil {
		sh.lockLater()
		sh.larger, sh.growing = nil, growing{}
		sh.mu.Unlock()
		larger.Close()
		return err
	}
	sh.lockLater()
	old := *sh.filter.Swap(&larger)
	install(g.moved)
	for _, u := range append(sh.sealed, sh.active) {
		u.Slot = int(g.move[u.Slot])
	}
	sh.slots, sh.slot = g.slots, g.live
	sh.slots.dirty |= sh.slots.used
	sh.held = sh.slots.used
	sh.larger, sh.growing = nil, growing{}
	sh.version++
	sh.mu.Unlock()
	// A prefetch may still have it in hand, without a lock: the memory goes when
	// nobody has.
	runtime.SetFinalizer(old, func(f filter) { f.Close() })
	return nil
}

// addLarger adds orders to the larger filter, unless their generation has left the window and
// its slot may be a newer one's by now.
func (s *shard) addLarger(generation uint64, slots uint8, orders []uint64) {
	s.lockLater()
	defer s.mu.Unlock()
	if generation >= s.oldest {
		for to := s.growing.moved(slots); to != 0; to &= to - 1 {
			s.larger.AddBatch(bits.TrailingZeros8(to), orders)
		}
	}
}

// addUnflushed adds the keys of a table to the larger filter. A table that was
// flushed meanwhile is a run, and those are added later.
func (s *shard) addUnflushed(u *Unflushed) {
	s.lockLater()
	defer s.mu.Unlock()
	if u != s.active && !s.isSealed(u) || u.Generation < s.oldest {
		return
	}
	slot := int(s.growing.move[u.Slot])
	orders := make([]uint64, 0, MaxPart)
	for _, t := range u.tables {
		if t == nil {
			continue
		}
		for p := range t.All() {
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
