package keytable

import (
	"math"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/firstseen/firstseen/internal/prefetch"
)

// blockRows is how many rows of an index are put in order at a time, while the keys
// of those before come from memory; after yieldBlocks of them, some 50 µs, callers
// may have the processor.
const (
	blockRows   = 32
	yieldBlocks = 24
)

// Sorted appends all pairs to dst in ascending order of (Hi, Lo), or of
// (Hi, record), and calls giveWay every 50 µs or so. The rows are in order and the tags of a row's entries tell theirs,
// but for keys that found their row full and for equal tags: those are moved into
// their places. A table full of colliding keys would make that quadratic and is
// sorted anew.
func (t *Table) Sorted(dst []Pair, giveWay func()) []Pair {
	first, n := len(dst), len(dst)
	out, budget := slices.Grow(dst, t.keys)[:len(dst)+t.keys], 16*len(t.pairs)
	t.fetch(giveWay)
	last := uint64(0) // Hi of the pair before n
	var memory [2][blockRows * rowSlots]uint32
	var coming []uint32 // places of keys that are on their way
	rows := t.index
	for k := 0; len(rows) > 0 || len(coming) > 0; k++ {
		if k%yieldBlocks == 0 {
			giveWay()
		}
		block := rows[:min(blockRows*rowSlots, len(rows))]
		rows = rows[len(block):]
		next := t.inOrder(&memory[k%2], block)
		prefetch.Places(unsafe.Pointer(unsafe.SliceData(t.pairs)), 4, next)
		for _, place := range coming {
			p := t.pairs[place]
			out[n] = p
			n++
			if p.Hi <= last {
				budget -= t.sink(out[first:n])
				p = out[n-1]
			}
			last = p.Hi
		}
		if budget < 0 {
			return t.sortedAnew(out[:first])
		}
		coming = next
	}
	return out
}

// fetch brings the keys near, in the order in which they lie: of those that come from memory
// in hash order each cache line comes four times, and takes twice as long.
func (t *Table) fetch(giveWay func()) {
	const yieldEvery = 32 << 10 // keys, some 50 µs
	for i := 0; i < t.used; i += 64 / PairBytes {
		if i%yieldEvery == 0 {
			giveWay()
		}
		atomic.LoadUint64(&t.pairs[i].Hi) // a load that nothing leaves out
	}
}

// inOrder returns, in memory, the places of the keys of some rows, those of each row in
// the order of their tags. There is no branch that depends on how many a row has, nor on
// their order: it would be mispredicted at every other row.
func (t *Table) inOrder(memory *[blockRows * rowSlots]uint32, rows []uint32) []uint32 {
	n := 0
	for ; len(rows) >= rowSlots; rows = rows[rowSlots:] {
		r := (*[rowSlots]uint32)(rows)
		// Entries that are zero, of which there is none or of deleted keys, come last: minus
		// one they are the largest numbers. The others become places counted from 0.
		a, b, c, d, e, f, g := sort7(r[1]-1, r[2]-1, r[3]-1, r[4]-1, r[5]-1, r[6]-1, r[7]-1)
		to := (*[rowKeys]uint32)(memory[n:])
		to[0], to[1], to[2], to[3], to[4], to[5], to[6] = a&t.places, b&t.places, c&t.places, d&t.places, e&t.places, f&t.places, g&t.places
		const none = math.MaxUint32
		n += int(bit(a != none) + bit(b != none) + bit(c != none) + bit(d != none) + bit(e != none) + bit(f != none) + bit(g != none))
	}
	return memory[:n]
}

// sort7 sorts by the shortest network there is.
func sort7(a, b, c, d, e, f, g uint32) (_, _, _, _, _, _, _ uint32) {
	a, g = min(a, g), max(a, g)
	c, d = min(c, d), max(c, d)
	e, f = min(e, f), max(e, f)
	a, c = min(a, c), max(a, c)
	b, e = min(b, e), max(b, e)
	d, g = min(d, g), max(d, g)
	a, b = min(a, b), max(a, b)
	c, f = min(c, f), max(c, f)
	d, e = min(d, e), max(d, e)
	b, c = min(b, c), max(b, c)
	e, g = min(e, g), max(e, g)
	c, d = min(c, d), max(c, d)
	e, f = min(e, f), max(e, f)
	b, c = min(b, c), max(b, c)
	d, e = min(d, e), max(d, e)
	f, g = min(f, g), max(f, g)
	return a, b, c, d, e, f, g
}

// sortedAnew appends all pairs to dst and sorts them.
func (t *Table) sortedAnew(dst []Pair) []Pair {
	first := len(dst)
	for p := range t.All() {
		dst = append(dst, p)
	}
	slices.SortFunc(dst[first:], func(a, b Pair) int {
		switch {
		case t.less(a, b):
			return -1
		case t.less(b, a):
			return 1
		}
		return 0
	})
	return dst
}

// sink moves the last pair to its place among the others, which are in order, and
// returns by how many places.
func (t *Table) sink(pairs []Pair) (moved int) {
	k := len(pairs) - 1
	for ; k > 0 && t.less(pairs[k], pairs[k-1]); k-- {
		pairs[k], pairs[k-1] = pairs[k-1], pairs[k]
		moved++
	}
	return moved
}

func (t *Table) less(a, b Pair) bool {
	if a.Hi != b.Hi {
		return a.Hi < b.Hi
	}
	if t.arena == nil {
		return a.Lo < b.Lo
	}
	return string(t.arena.record(a.Lo)) < string(t.arena.record(b.Lo))
}
