package bloom

import "github.com/firstseen/firstseen/internal/prefetch"

// Maybe returns the mask of slots that may hold the key.
func (f *sliced) Maybe(order uint64) uint8 {
	orders, masks := [1]uint64{order}, [1]uint8{}
	f.maybe(masks[:], orders[:], nil)
	if slot := f.sweep.pending(); slot >= 0 {
		f.dropUncleared(slot, masks[:], orders[:])
	}
	return masks[0]
}

// batchAhead is how far the prefetches of MaybeBatch run ahead, and batchPiece how many keys
// it prefetches once more before they are tested, since the processor drops some that miss its
// address cache. Far out of the cache a key takes 15 ns so, with all of them prefetched first 27,
// with none 42.
const (
	batchAhead = 64
	batchPiece = 16
)

// MaybeBatch puts the mask of each order into masks.
func (f *sliced) MaybeBatch(masks []uint8, orders []uint64) {
	masks = masks[:len(orders)]
	next := prefetch.Queue{Filter: f, Orders: orders}
	next.Next(batchAhead)
	for at := 0; at < len(orders); at += batchPiece {
		piece := orders[at:min(at+batchPiece, len(orders))]
		f.Prefetch(piece)
		f.MaybePrefetched(masks[at:], piece, &next)
	}
}

// MaybePrefetched puts the mask of each order into masks.
func (f *sliced) MaybePrefetched(masks []uint8, orders []uint64, beside *prefetch.Queue) {
	masks = masks[:len(orders)]
	f.maybe(masks, orders, beside)
	if slot := f.sweep.pending(); slot >= 0 {
		f.dropUncleared(slot, masks, orders)
	}
}

// maybe tests all words, those of a slot that waits for its clearing as well.
// masks and orders have one length.
func (f *sliced) maybe(masks []uint8, orders []uint64, beside *prefetch.Queue) {
	if f.shift == 3 && f.maybeKernel(masks, orders, beside) {
		return
	}
	for len(orders) > 0 {
		n := min(testPiece, len(orders))
		if f.shift == 3 {
			f.testLines(masks[:n], orders[:n])
		} else {
			f.testShortLines(masks[:n], orders[:n])
		}
		beside.Next(n)
		masks, orders = masks[n:], orders[n:]
	}
}

// testLines is maybe for lines of eight words. Words of slots that are not used
// are zero, and no mask is.
func (f *sliced) testLines(masks []uint8, orders []uint64) {
	words, lines, hashes := f.words, f.lines, f.hashes
	masks = masks[:len(orders)]
	for i, order := range orders {
		w := wordMask(order, hashes)
		l := (*[8]uint64)(words[mulhi(order, lines)*8:])
		m := holds(l[0], w) | holds(l[1], w)<<1 | holds(l[2], w)<<2 | holds(l[3], w)<<3
		masks[i] = m | holds(l[4], w)<<4 | holds(l[5], w)<<5 | holds(l[6], w)<<6 | holds(l[7], w)<<7
	}
}

// testShortLines is maybe for lines of two and four words.
func (f *sliced) testShortLines(masks []uint8, orders []uint64) {
	for i, order := range orders {
		want := wordMask(order, f.hashes)
		line := f.words[mulhi(order, f.lines)<<f.shift:][:f.generations]
		var m uint8
		for slot, word := range line {
			m |= holds(word, want) << slot
		}
		masks[i] = m
	}
}

// holds is 1 if word has all bits of mask, else 0. The compiler makes it a
// comparison without a branch; one would be mispredicted at every "maybe".
func holds(word, mask uint64) uint8 {
	var h uint8
	if mask&^word == 0 {
		h = 1
	}
	return h
}

// dropUncleared takes back what the words that wait for clearing answered.
func (f *sliced) dropUncleared(slot int, masks []uint8, orders []uint64) {
	for i, m := range masks {
		if m>>slot&1 != 0 && !f.sweep.clean(mulhi(orders[i], f.lines)) {
			masks[i] = m &^ (1 << slot)
		}
	}
}

// Add puts the key into a slot.
func (f *sliced) Add(slot int, order uint64) {
	checkSlot(slot, f.generations)
	f.set(slot, mulhi(order, f.lines), wordMask(order, f.hashes), f.sweep.pending() == slot)
}

// AddBatch puts all of the keys into a slot.
func (f *sliced) AddBatch(slot int, orders []uint64) {
	checkSlot(slot, f.generations)
	if f.sweep.pending() == slot {
		f.clearFor(slot, orders)
	}
	if !f.addKernel(slot, orders) {
		f.addWords(slot, orders)
	}
}

// clearFor makes the words of orders clean in the slot that is being swept.
func (f *sliced) clearFor(slot int, orders []uint64) {
	for _, order := range orders {
		if line := mulhi(order, f.lines); !f.sweep.clean(line) {
			f.words[line<<f.shift+uint64(slot)] = 0
			f.sweep.claim(line)
		}
	}
}

// addWords adds orders to a slot in which their words are clean.
func (f *sliced) addWords(slot int, orders []uint64) {
	column, lines, shift, hashes := f.words[slot:], f.lines, f.shift, f.hashes
	for _, order := range orders {
		column[mulhi(order, lines)<<(shift&63)] |= wordMask(order, hashes)
	}
}

// AddAbsent puts the mask of each order into masks and adds those that are absent. Words of the
// slot that is being swept are cleared first, for all orders: then kernel and loop need not know
// of the sweep, and what they test and set counts.
func (f *sliced) AddAbsent(slot int, held, blind uint8, masks []uint8, orders []uint64, beside *prefetch.Queue) {
	checkSlot(slot, f.generations)
	masks = masks[:len(orders)]
	if swept := f.sweep.pending(); swept >= 0 {
		f.clearFor(swept, orders)
	}
	if !f.addAbsentKernel(slot, held, blind, masks, orders, beside) {
		f.addAbsentWords(slot, held, blind, masks, orders, beside)
	}
}

// addAbsentWords is AddAbsent for a filter in which the words of orders are clean.
func (f *sliced) addAbsentWords(slot int, held, blind uint8, masks []uint8, orders []uint64, beside *prefetch.Queue) {
	f.maybe(masks, orders, beside)
	for i, order := range orders {
		if masks[i] = (masks[i] | blind) & held; masks[i] == 0 {
			word, want := &f.words[mulhi(order, f.lines)<<f.shift+uint64(slot)], wordMask(order, f.hashes)
			masks[i] = holds(*word, want) << slot
			*word |= want
		}
	}
}

// set adds bits to a slot's word of a line. While the slot is being swept an
// uncleared word is replaced, and its line noted as clean.
func (f *sliced) set(slot int, line, mask uint64, sweeping bool) {
	word := &f.words[line<<f.shift+uint64(slot)]
	if sweeping && !f.sweep.clean(line) {
		*word = 0
		f.sweep.claim(line)
	}
	*word |= mask
}
