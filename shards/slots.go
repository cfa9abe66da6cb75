package shards

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/firstseen/firstseen/bloom"
)

// slots says which generations lie in which slot of a shard's filter.
//
// All keys of a table, and of the run that it becomes, are in one slot. So a key is looked for
// only in tables and runs whose slot is in its mask. If the stream comes as expected each
// generation has one slot. A slot that is full before its generation is over is followed by a
// free one: a backlog that comes all at once has the whole filter, not the seventh that one
// generation would have (docs/decisions/011). Where none is free the last one is shared, and
// says "maybe" more often until the filter has grown. A slot is free again when all of its
// generations have left the window.
//
// None of this is on disk: an opening, and each growth, hands the slots out anew. It is guarded
// by the shard's mu, as all that has to change in step with it: filter, inUse, and the slots of
// tables and runs.
type slots struct {
	n     int    // of the filter
	share uint64 // keys that a slot is made for
	used  uint8  // bits of the slots that hold keys of the window
	dirty uint8  // bits of those that have held keys and must be emptied before the next ones
	begun uint64 // counts how often a slot was handed out: orders them by age
	slot  [bloom.MaxGenerations]struct {
		first, last uint64 // generations in it; it is free when last has left the window
		keys        uint64 // that were put into it: only sizes go by it, no answer
		begun       uint64 // the count when it was handed out
	}
}

func newSlots(c bloom.Config) slots {
	return slots{n: c.Generations, share: max(1, c.Keys/uint64(c.Generations))}
}

// of returns the slots that hold keys of a generation.
func (t *slots) of(generation uint64) (mask uint8) {
	for i := range t.n {
		if s := &t.slot[i]; t.used>>i&1 != 0 && s.first <= generation && generation <= s.last {
			mask |= 1 << i
		}
	}
	return mask
}

// newest returns the slot of a generation that was begun last: the one that takes its marks. A
// generation without a slot gets 0, so the caller must know that it has one.
func (t *slots) newest(generation uint64) (slot int) {
	begun := uint64(0)
	for i := range t.n {
		if t.of(generation)>>i&1 != 0 && t.slot[i].begun > begun {
			slot, begun = i, t.slot[i].begun
		}
	}
	return slot
}

// retire frees the slots whose generations are all before oldest.
func (t *slots) retire(oldest uint64) {
	for i := range t.n {
		if t.slot[i].last < oldest {
			t.used &^= 1 << i
		}
	}
}

// free counts the slots that hold nothing of the window.
func (t *slots) free() int { return t.n - bits.OnesCount8(t.used) }

// take hands a free slot to a generation, one that needs no emptying if there is one. There must
// be a free one.
func (t *slots) take(generation uint64) (slot int, dirty bool) {
	free := ^t.used & (1<<t.n - 1)
	if clean := free &^ t.dirty; clean != 0 {
		free = clean
	}
	slot = bits.TrailingZeros8(free)
	return slot, t.give(slot, generation)
}

// give hands a certain slot to a generation. It reports whether it must be emptied: bits that a
// retired generation has left would make new keys "maybe", but never a marked one new.
func (t *slots) give(slot int, generation uint64) (dirty bool) {
	dirty = t.dirty>>slot&1 != 0
	t.used |= 1 << slot
	t.dirty |= 1 << slot
	t.begun++
	s := &t.slot[slot]
	s.first, s.last, s.keys, s.begun = generation, generation, 0, t.begun
	return dirty
}

// takes reports whether a slot has room for that many keys more. Half of them, and an eighth
// of its share, may be too many: a filter that is a little fuller says "maybe" a little more.
func (t *slots) takes(slot int, keys uint64) bool {
	return t.slot[slot].keys+keys/2 <= t.share+t.share/8
}

// crowded reports that a slot in use holds far more than it is made for.
func (t *slots) crowded() bool {
	for i := range t.n {
		if t.used>>i&1 != 0 && t.slot[i].keys > t.share+t.share/2 {
			return true
		}
	}
	return false
}

// pack says which slot of a larger or smaller filter takes what lies in each slot of this one.
// It goes by their age and takes as few as hold it all. Neighbours in age share a slot, because
// it is free again only when the youngest of what is in it has left the window.
func (t *slots) pack(to *slots) (move [bloom.MaxGenerations]uint8) {
	var order []int
	for i := range t.n {
		if t.used>>i&1 != 0 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(t.slot[a].begun, t.slot[b].begun) })
	at := -1
	for _, i := range order {
		from := &t.slot[i]
		if at < 0 || to.slot[at].keys > 0 && !to.takes(at, from.keys) && to.free() > 0 {
			at, _ = to.take(from.first)
		}
		s := &to.slot[at]
		s.first, s.last = min(s.first, from.first), max(s.last, from.last)
		s.keys += from.keys
		move[i] = uint8(at)
	}
	return move
}

// rotateSlot gives a new generation a slot. It shares the slot of the one before if none is
// free, or if few are free and that one is half empty.
func (s *shard) rotateSlot() {
	t := &s.slots
	live := &t.slot[s.slot]
	used := t.used>>s.slot&1 != 0
	if s.set.c.Confirmer == nil || !used || t.free() > 0 && (2*t.free() > t.n || live.keys > t.share/2) {
		s.beginSlot()
		return
	}
	live.last, s.active.Slot = s.generation, s.slot
	if s.larger != nil {
		s.growing.extend(s.generation)
	}
}

// beginSlot has the live generation's marks go to a free slot, of which there must be one. The
// active table must be empty: its keys would have the old slot's bits, and be looked for by the
// new one's (I1). Gaps of the slot's former generations end here, as those have left the window.
// mu is held.
func (s *shard) beginSlot() {
	t := &s.slots
	slot, dirty := 0, false
	if s.set.c.Confirmer == nil {
		slot = int(s.generation % uint64(t.n)) // a generation's bits are all there is of it
		dirty = t.give(slot, s.generation)
	} else {
		slot, dirty = t.take(s.generation)
	}
	s.slot, s.active.Slot = slot, slot
	s.inUse = t.used
	s.blind &^= 1 << slot
	s.lost &^= 1 << slot
	if dirty {
		(*s.filter.Load()).Reset(slot)
	}
	if s.larger != nil {
		s.growing.follow(slot, s.generation)
	}
}

// followSlot leaves a full slot for a free one. It is called before a part is decided, so that
// the part's masks, its bits and its table agree on the slot. Within a part a key could be lost:
//
//  1. The part's masks are read, and the bits of its new keys set in slot 1.
//  2. The table is sealed, and slot 2 follows. The new table is of slot 2.
//  3. The keys go into that table. Later their masks have slot 1 alone, so the table is not asked
//     once it is sealed, and neither is its run.
//
// The version stays, although masks of pending keys lack the new slot: what is marked there is
// counted in added, and the second look reads those masks again.
func (s *shard) followSlot() {
	if s.slots.free() > 0 && !s.slots.takes(s.slot, uint64(s.set.maxKeys.Load())) {
		s.beginSlot()
	}
}

// growing is what lies in which slot of the filter that Grow is making. It is a plan that has to
// follow the shard while Grow is at work, since rotations and full tables go on: at the end it
// takes the place of the shard's slots in one step. Guarded by the shard's mu.
type growing struct {
	slots
	move [bloom.MaxGenerations]uint8 // by the present filter's slots
	live int                         // gets what the live slot gets
}

// follow notes a slot that was begun in the present filter. It need not begin one here, where a
// slot holds more. A slot that is taken here may have bits of a generation that was retired
// during the growth. They are left, and make some keys "maybe".
func (g *growing) follow(slot int, generation uint64) {
	if g.free() > 0 && !g.takes(g.live, g.share/2) {
		g.live, _ = g.take(generation)
	}
	g.extend(generation)
	g.move[slot] = uint8(g.live)
}

// extend has the live slot hold keys of a generation.
func (g *growing) extend(generation uint64) {
	g.used |= 1 << g.live // even if what was in it has just left the window
	s := &g.slot[g.live]
	s.last = max(s.last, generation)
}

// moved returns the slots that take the place of those in mask.
func (g *growing) moved(mask uint8) (to uint8) {
	for ; mask != 0; mask &= mask - 1 {
		to |= 1 << g.move[bits.TrailingZeros8(mask)]
	}
	return to
}
