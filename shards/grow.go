package shards

import (
	"math/bits"
	"runtime"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/internal/keytable"
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
// Steps 2 and 3 must not change places. A table that is no run yet when the runs are listed may
// be published before the tables are: its keys would be in neither list. In this order a key may
// be added twice, which a filter does not mind.
//
// An error of add leaves the shard with the filter that it had. One Grow of a shard at a time,
// and Column must not be called meanwhile: the slots of generations change.
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
// slot may be a newer one's by now. Both are looked at under one lock, as Retire may come at any
// time. slots are those of the present filter, which its runs keep until step 4.
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
// was listed: its memory is recycled then, and its run is added later. The caller holds no lock.
func (s *shard) addUnflushed(u *Unflushed) {
	orders := make([]uint64, 0, MaxPiece)
	for form := range u.tables {
		var t *keytable.Table
		for at, more := 0, true; more; {
			t, at, more = s.addPiece(u, form, t, at, orders)
			runtime.Gosched()
		}
	}
}

// addPiece adds keys of one form of a table from the at-th on, where t is the memory in which
// they lay at the last piece. The shard is locked for a piece at a time, since a whole table
// takes 4 ms and more. Only keys that were there when larger was set are to be added, since
// all later ones are marked in both filters. They keep their places as long as the memory is
// the same, and when it has grown the keys are added from the first one on. It returns the
// memory, where to go on, and whether there may be more; orders is scratch for MaxPiece keys.
func (s *shard) addPiece(u *Unflushed, form int, t *keytable.Table, at int, orders []uint64) (_ *keytable.Table, next int, more bool) {
	s.lockLater()
	defer s.mu.Unlock()
	if u != s.active && !s.isSealed(u) || u.Generation < s.oldest || u.tables[form] == nil {
		return nil, 0, false
	}
	if t != u.tables[form] {
		t, at = u.tables[form], 0
	}
	pairs := t.Stored(at)
	orders = orders[:min(MaxPiece, len(pairs))]
	for i := range orders {
		orders[i] = pairs[i].Hi << s.set.shardBits
	}
	s.larger.AddBatch(int(s.growing.move[u.Slot]), orders)
	return t, at + len(orders), len(orders) > 0
}

// isSealed reports whether a table is still in memory, though not active. mu is held.
func (s *shard) isSealed(u *Unflushed) bool {
	for _, t := range s.sealed {
		if t == u {
			return true
		}
	}
	return false
}
