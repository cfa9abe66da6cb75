package bloom

import "sync/atomic"

// A sweep is the state of one slot's clearing, in units of a cache line.
//
// A slot becomes empty at once, its memory is cleared piece by piece. Between
// the two, a unit's content counts only if the unit is clean: if it lies below
// the cursor, or an addition cleared it first and noted so in early. No more
// than one slot is swept at a time, so that one bitmap and one comparison do.
type sweep struct {
	// slot is the one being swept, -1 if none. Atomic because ReadSlot of
	// another slot reads it beside the owner's Reset and ClearStep; it
	// publishes nothing, since such a reader only learns "not mine".
	slot   atomic.Int32
	units  uint64
	cursor uint64
	early  []uint64 // a bit per unit; zero below the cursor and when nothing is swept
	step   int      // groups of 64 units that one ClearStep clears
}

// clearGroups is the usual step: 128 lines, 8 KiB, 1 to 3 µs out of cache. The
// owner holds its lock meanwhile, and who meets a longer one is put to sleep: the
// waking costs more than the step.
const clearGroups = 2

func (s *sweep) init(units uint64) {
	s.slot.Store(-1)
	s.step = clearGroups
	s.units, s.early = units, make([]uint64, (units+63)/64)
}

// pending returns the slot being swept, -1 if none.
func (s *sweep) pending() int { return int(s.slot.Load()) }

func (s *sweep) begin(slot int) {
	s.cursor = 0
	s.slot.Store(int32(slot))
}

// clean reports whether the content of a unit of the pending slot counts.
func (s *sweep) clean(unit uint64) bool {
	return unit < s.cursor || s.early[unit>>6]>>(unit&63)&1 != 0
}

// claim notes that the caller has cleared a unit above the cursor.
func (s *sweep) claim(unit uint64) { s.early[unit>>6] |= 1 << (unit & 63) }

// next hands out a group of up to 64 units for the caller to clear: n units
// from first, but not unit first+i where bit i of keep is set. At the end n is 0
// and the sweep is over.
func (s *sweep) next() (first, n, keep uint64) {
	first = s.cursor
	n = min(64, s.units-first)
	if s.slot.Load() < 0 || n == 0 {
		s.slot.Store(-1)
		return 0, 0, 0
	}
	keep, s.early[first>>6] = s.early[first>>6], 0
	s.cursor += n
	return first, n, keep
}
