package bloom

import (
	"math/bits"
	"unsafe"

	"github.com/firstseen/firstseen/internal/prefetch"
)

// Maybe returns the mask of slots that may hold the key.
func (f *compact) Maybe(order uint64) uint8 {
	orders, masks := [1]uint64{order}, [1]uint8{}
	f.MaybePrefetched(masks[:], orders[:], nil)
	return masks[0]
}

// MaybeBatch puts the mask of each order into masks. The first bits of a chunk are
// prefetched while the chunk before it is tested.
func (f *compact) MaybeBatch(masks []uint8, orders []uint64) {
	masks = masks[:len(orders)]
	next := prefetch.Queue{Filter: f, Orders: orders}
	next.Next(2 * compactChunk)
	f.MaybePrefetched(masks, orders, &next)
}

// MaybePrefetched puts the mask of each order into masks.
func (f *compact) MaybePrefetched(masks []uint8, orders []uint64, beside *prefetch.Queue) {
	masks = masks[:len(orders)]
	for i := 0; i < len(orders); i += compactChunk {
		end := min(i+compactChunk, len(orders))
		f.maybe(masks[i:end], orders[i:end])
		beside.Next(end - i)
	}
	slot := f.sweep.pending()
	if slot < 0 {
		return
	}
	for i, m := range masks {
		if m>>slot&1 != 0 && !f.cleared(orders[i]) {
			masks[i] = m &^ (1 << slot)
		}
	}
}

const (
	// compactChunk is how many keys go from bit to bit together: the lines of
	// one bit of all of them in eight slots are half of a 32 KiB cache.
	compactChunk = 32
	// compactAhead is the number of bits that are worth prefetching. Each halves
	// the candidates; after it there is one left in two keys.
	compactAhead = 4
)

// maybe tests all slots, one that waits for its clearing as well, for up to
// compactChunk keys. It goes bit by bit and not key by key: a test decided by a
// coin is mispredicted half of the time, and then the next miss does not start
// before the last one has ended; a prefetch does not wait.
func (f *compact) maybe(masks []uint8, orders []uint64) {
	var probes [compactChunk]probe
	all := uint8(1<<len(f.ring) - 1)
	for i, order := range orders {
		probes[i] = newProbe(order)
		masks[i] = all
	}
	f.prefetch(masks, probes[:len(orders)])
	f.testFirst(masks, orders)
	for k := 1; k < f.hashes; k++ {
		left := uint8(0)
		for i := range orders {
			probes[i].next()
			left |= masks[i]
		}
		if left == 0 {
			return
		}
		if k < compactAhead {
			f.prefetch(masks, probes[:len(orders)])
		}
		for i, m := range masks {
			at := uint(mulhi(probes[i].at, f.bits))
			for left := m; left != 0; left &= left - 1 {
				slot := bits.TrailingZeros8(left)
				m &^= one(!f.ring[slot].BitSet().Test(at)) << slot
			}
			masks[i] = m
		}
	}
}

// testFirst tests the first bit of each order in all slots, without a branch.
func (f *compact) testFirst(masks []uint8, orders []uint64) {
	for i, order := range orders {
		var m uint8
		at := uint(mulhi(order, f.bits))
		for slot, filter := range f.ring {
			m |= one(filter.BitSet().Test(at)) << slot
		}
		masks[i] = m
	}
}

// prefetch prefetches the bit that the probes stand at in each slot that is
// still a candidate.
func (f *compact) prefetch(masks []uint8, probes []probe) {
	var wanted [compactChunk]uint64
	base := unsafe.Pointer(unsafe.SliceData(f.words))
	for slot := range f.ring {
		n := 0
		for i, m := range masks {
			wanted[n] = probes[i].at
			n += int(m >> slot & 1) // n <= i: an unwanted one is overwritten
		}
		prefetch.Scaled(unsafe.Add(base, uint64(slot)*f.slotSize*8), f.slotSize, 3, wanted[:n])
	}
}

// one is 1 for true.
func one(b bool) uint8 {
	var u uint8
	if b {
		u = 1
	}
	return u
}

// cleared reports whether all bits of a key lie in cleared units of the slot
// that is being swept.
func (f *compact) cleared(order uint64) bool {
	p := newProbe(order)
	for range f.hashes {
		if !f.sweep.clean(mulhi(p.at, f.bits) / (64 * unitWords)) {
			return false
		}
		p.next()
	}
	return true
}

// Add puts the key into a slot.
func (f *compact) Add(slot int, order uint64) {
	checkSlot(slot, len(f.ring))
	var places [32]uint64 // the most hashes there are
	f.setBits(slot, f.appendPlaces(places[:0], order))
}

// compactWanted is how many bits are prefetched before they are set: 16 KiB of
// lines, half of a cache.
const compactWanted = 256

// AddBatch puts all of the keys into a slot.
func (f *compact) AddBatch(slot int, orders []uint64) {
	checkSlot(slot, len(f.ring))
	var space [compactWanted]uint64
	for chunk := compactWanted / f.hashes; len(orders) > 0; {
		n, places := min(chunk, len(orders)), space[:0]
		for _, order := range orders[:n] {
			places = f.appendPlaces(places, order)
		}
		f.prefetchPlaces(slot, places)
		f.setBits(slot, places)
		orders = orders[n:]
	}
}

// AddAbsent puts the mask of each order into masks and adds those that are absent.
func (f *compact) AddAbsent(slot int, held, blind uint8, masks []uint8, orders []uint64, beside *prefetch.Queue) {
	checkSlot(slot, len(f.ring))
	f.MaybePrefetched(masks, orders, beside)
	var space [compactWanted]uint64
	for chunk := compactWanted / f.hashes; len(orders) > 0; {
		n, places := min(chunk, len(orders)), space[:0]
		for i, order := range orders[:n] {
			if masks[i] = (masks[i] | blind) & held; masks[i] == 0 {
				places = f.appendPlaces(places, order)
			}
		}
		f.prefetchPlaces(slot, places)
		for i := range n {
			if masks[i] == 0 {
				masks[i] = f.setBits(slot, places[:f.hashes]) << slot
				places = places[f.hashes:]
			}
		}
		masks, orders = masks[n:], orders[n:]
	}
}

// appendPlaces appends where the bits of a key are.
func (f *compact) appendPlaces(places []uint64, order uint64) []uint64 {
	p := newProbe(order)
	for range f.hashes {
		places = append(places, p.at)
		p.next()
	}
	return places
}

// prefetchPlaces prefetches bits of a slot.
func (f *compact) prefetchPlaces(slot int, places []uint64) {
	prefetch.Scaled(unsafe.Pointer(unsafe.SliceData(f.column(slot))), f.slotSize, 3, places)
}

// setBits sets bits of a slot, and returns 1 if all of them were set, else 0. It does
// without BitSet: the fewer instructions a bit takes, the more misses overlap.
func (f *compact) setBits(slot int, places []uint64) (had uint8) {
	column, sweeping := f.column(slot), f.sweep.pending() == slot
	all := uint64(1)
	for _, place := range places {
		at := mulhi(place, f.bits)
		if sweeping {
			f.clearFor(column, at/(64*unitWords))
		}
		word := &column[at/64]
		all &= *word >> (at % 64)
		*word |= 1 << (at % 64)
	}
	return uint8(all)
}
