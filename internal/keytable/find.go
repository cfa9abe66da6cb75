package keytable

import (
	"math"
	"math/bits"
	"unsafe"

	"github.com/firstseen/firstseen/internal/prefetch"
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
// matches empty slots too. There is no branch that depends on which they are: of an entry with
// the tag, the exclusive or leaves the place, and of others more than a place can be.
func (t *Table) match(r *[rowSlots]uint32, tag uint32) (slots uint) {
	p := t.places
	return bit(r[1]^tag <= p)<<1 | bit(r[2]^tag <= p)<<2 | bit(r[3]^tag <= p)<<3 | bit(r[4]^tag <= p)<<4 |
		bit(r[5]^tag <= p)<<5 | bit(r[6]^tag <= p)<<6 | bit(r[7]^tag <= p)<<7
}

// is reports whether an entry is a key's.
func (t *Table) is(entry uint32, hi, lo uint64, record []byte) bool {
	p := t.pair(entry)
	if p.Hi != hi {
		return false
	}
	if t.arena != nil {
		return t.arena.equal(p.Lo, record)
	}
	return p.Lo == lo
}

// unsure is a candidate that only find can tell.
const unsure = math.MaxUint32

// Candidates returns in dst's memory, for each of the keys at, what Holds takes, and
// prefetches the keys that will be compared. The keys' rows should be near.
//
// A key that is there has a random line of its own beside its row's. So a part's rows are all
// looked at first, and the lines arrive together. Where the row is full and has no match, the
// search would go on behind it: those few are left to find (unsure).
func (t *Table) Candidates(dst []uint32, orders []uint64, at []int32) []uint32 {
	dst = dst[:len(at)]
	for k, i := range at {
		row, tag := t.home(orders[i])
		r := t.row(row)
		m := t.match(r, tag)
		e := r[bits.TrailingZeros(m|1<<rowSlots)%rowSlots] & t.places
		e *= uint32(bit(m != 0))
		ask := bit(e == 0) & bit(r[0] == rowKeys)
		dst[k] = e | -uint32(ask)
	}
	prefetch.Places(unsafe.Add(unsafe.Pointer(unsafe.SliceData(t.pairs)), -PairBytes), 4, dst)
	return dst
}

// Holds is Has for a key with a candidate: the entry that may be its own, 0 if there is
// none, or unsure.
func (t *Table) Holds(candidate uint32, order, hi, lo uint64, record []byte) bool {
	switch {
	case candidate == 0:
		return false
	case candidate != unsure && t.is(candidate, hi, lo, record):
		return true
	}
	return t.Has(order, hi, lo, record)
}

// bit is 1 for true, without a branch.
func bit(b bool) (n uint) {
	if b {
		n = 1
	}
	return n
}
