package bloom

import "math/bits"

// remix is the golden ratio's odd 64-bit fraction (Knuth, The Art of Computer
// Programming 3, 6.4): its multiples spread evenly.
const remix = 0x9e3779b97f4a7c15

// mulhi returns a × n / 2^64: it maps a hash evenly onto [0, n) and keeps its
// order (Lemire, Fast random integer generation in an interval, 2019).
func mulhi(a, n uint64) uint64 {
	hi, _ := bits.Mul64(a, n)
	return hi
}

// mix returns 64 bits that are independent of the place mulhi(order, n). The
// high bits of order choose the place and its low bits may be zero, so neither
// may choose bits directly. The low word of the product carries every bit of
// order into its high bits, the high word brings good bits to the low end.
func mix(order uint64) uint64 {
	hi, lo := bits.Mul64(order, remix)
	return hi ^ lo
}

// wordMask returns a word with up to k bits set, k from 1 to 10, chosen by the
// 6-bit groups of mix(order) from the top. Two groups may choose the same bit.
// A loop over the groups, inlined where it is called, keeps its state on the
// stack for want of registers and costs twice as much.
func wordMask(order uint64, k int) uint64 {
	p := mix(order)
	m := uint64(1) << (p >> 58)
	if k > 1 {
		m |= 1 << (p >> 52 & 63)
	}
	if k > 2 {
		m |= 1 << (p >> 46 & 63)
	}
	if k > 3 {
		m |= 1 << (p >> 40 & 63)
	}
	if k > 4 {
		m |= 1 << (p >> 34 & 63)
	}
	if k > 5 {
		m |= 1 << (p >> 28 & 63)
	}
	if k > 6 {
		m |= 1 << (p >> 22 & 63)
	}
	if k > 7 {
		m |= 1 << (p >> 16 & 63)
	}
	if k > 8 {
		m |= 1 << (p >> 10 & 63)
	}
	if k > 9 {
		m |= 1 << (p >> 4 & 63)
	}
	return m
}

// A probe walks the bits of a key in a filter of many words. The first bit is
// mulhi(order, bits): in order, and where Prefetch looks. The others follow by
// enhanced double hashing (Dillinger, Manolios, Bloom Filters in Probabilistic
// Verification, 2004), which has no cycles of the kind that a plain arithmetic
// progression has.
type probe struct{ at, step uint64 }

func newProbe(order uint64) probe { return probe{at: order, step: mix(order)} }

// next moves to the following bit. The step changes by an odd constant instead
// of the paper's counter, since mulhi looks at the high bits.
func (p *probe) next() {
	p.at += p.step
	p.step = p.step*remix + remix
}
