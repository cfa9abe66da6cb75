package shards

import (
	"math/bits"
	"runtime"

	"github.com/firstseen/firstseen/bloom"
)

// Grow rebuilds one shard's filter larger, or smaller, while calls go on. At every moment the
// filter that is asked holds all keys (I1):
//
//  1. Under the lock larger is set and the list of tables read. From here on every mark goes
//     to both filters (logMarks).
//  2. The keys of those tables are added to the new filter. A table that is flushed before its
//     turn is a run by then, and 3 adds it.
//  3. add adds the keys of all runs, whose list it reads after 2. It is given a function that
//     takes a generation's orders and the slots they are in.
//  4. Under the lock the new filter takes the other's place, and install has look-ups ask each
//     run for the slots that moved gives in place of its own. The version is raised, since
//     masks read before are in the old slots.
//
// Column must not be called meanwhile: the slots of generations change.
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
	sh.inUse = sh.slots.used
	sh.larger, sh.growing = nil, growing{}
	sh.version++
	sh.mu.Unlock()
	// A prefetch, which takes no lock, may still have a pointer to the old filter. So its
	// memory is freed when the collector finds that nobody has.
	runtime.SetFinalizer(old, func(f filter) { f.Close() })
	return nil
}

// addLarger adds orders to the larger filter, unless their generation has left the window: its
// slot may be a newer one's by now.
func (s *shard) addLarger(generation uint64, slots uint8, orders []uint64) {
	s.lockLater()
	defer s.mu.Unlock()
	if generation >= s.oldest {
		for to := s.growing.moved(slots); to != 0; to &= to - 1 {
			s.larger.AddBatch(bits.TrailingZeros8(to), orders)
		}
	}
}

// addUnflushed adds the keys of a table to the larger filter, unless it was flushed since it
// was listed: its memory is recycled then, and its run is added later.
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
