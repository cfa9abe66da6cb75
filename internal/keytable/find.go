package keytable

import (
	"math/bits"
	"unsafe"

	"github.com/firstseen/firstseen/internal/prefetch"
	"github.com/firstseen/firstseen/internal/sabotage"
)

// Has reports whether a key is there: (hi, lo) of a fixed form, or (hi, 0) and its record.
// order is hi without the shard's bits.
func (t *Table) Has(order, hi, lo uint64, record []byte) bool {
	return t.find(order, hi, lo, record) >= 0
}

// find returns where in the index the entry of a key is, or -1.
func (t *Table) find(order, hi, lo uint64, record []byte) int {
	row, tag := t.home(order)
	for end := row + maxProbe; row < end; row++ {
		r := t.row(row)
		for m := t.match(r, tag); m != 0; m &= m - 1 {
			j := bits.TrailingZeros(m)
			if e := r[j%rowSlots]; e != 0 && t.is(e, hi, lo, record) {
				return int(row*rowSlots) + j
			}
		}
		if r[0] < rowKeys {
			break
		}
	}
	return -1
}

// match returns the slots of a row whose entries have a tag, as bits; a tag of zero
// matches empty slots too. There is no branch that depends on which they are.
func (t *Table) match(r *[rowSlots]uint32, tag uint32) (slots uint) {
	p := t.places
	return one(r[1]^tag <= p)<<1 | one(r[2]^tag <= p)<<2 | one(r[3]^tag <= p)<<3 | one(r[4]^tag <= p)<<4 |
		one(r[5]^tag <= p)<<5 | one(r[6]^tag <= p)<<6 | one(r[7]^tag <= p)<<7
}

// is reports whether an entry is a key's.
func (t *Table) is(entry uint32, hi, lo uint64, record []byte) bool {
	p := t.pair(entry)
	if p.Hi != hi {
		return false
	}
	if sabotage.On(sabotage.HashDecides) {
		return true
	}
	if t.arena != nil {
		return t.arena.equal(p.Lo, record)
	}
	return p.Lo == lo
}

// PrefetchKeys prefetches the keys that Has will compare those of orders at the given places
// with: of each, the one that its home row's tags name first. The rows should be near.
func (t *Table) PrefetchKeys(orders []uint64, at []int32) {
	var memory [64]uint32
	first := unsafe.Add(unsafe.Pointer(unsafe.SliceData(t.pairs)), -PairBytes)
	for len(at) > 0 {
		n := min(len(at), len(memory))
		places := memory[:n]
		for k, i := range at[:n] {
			row, tag := t.home(orders[i])
			r := t.row(row)
			// Where no tag matches this is the row's count, a key near the start.
			places[k] = r[bits.TrailingZeros(t.match(r, tag)|1<<rowSlots)%rowSlots] & t.places
		}
		// Twice: some processors drop a prefetch that misses their address cache, and the
		// second time it costs next to nothing.
		prefetch.Places(first, 4, places)
		prefetch.Places(first, 4, places)
		at = at[n:]
	}
}

// one is 1 for true, without a branch.
func one(b bool) (n uint) {
	if b {
		n = 1
	}
	return n
}
