package shards

import (
	"math"
	"math/bits"
	"runtime"
	"slices"
	"unsafe"

	"github.com/firstseen/firstseen/internal/mem"
	"github.com/firstseen/firstseen/internal/prefetch"
	"github.com/firstseen/firstseen/internal/sabotage"
)

// A Pair is one stored key: hash and rest of a fixed form, or hash and place of
// the record in the arena. The zero Pair is an empty slot.
type Pair = struct{ Hi, Lo uint64 } // an alias, so that package persist can take it

const (
	pairSize  = 16
	lineSlots = 64 / pairSize
)

var _ [pairSize]byte = [unsafe.Sizeof(Pair{})]byte{}

// maxProbe bounds the slots that one look-up walks: at load 0.5 a random key
// needs two, only keys chosen to collide need more. A key that finds no place
// within it makes the table count as full. The same number of slots behind the
// last home slot saves the wrap-around, so that a scan comes out in hash order.
const maxProbe = MaxPart

// A table is an open-addressing hash table in hash order: the home slot of a
// key is order × slots / 2^64, probing is linear. A look-up is one cache line,
// and a scan of the slots is nearly sorted (insert 13 ns, hit 25 ns, sorted output
// 10 ns a key; a Go map needs 293 and 104 ns).
type table struct {
	slots  []Pair // home slots and maxProbe more
	home   uint64
	keys   int
	zero   bool   // the fixed key whose pair looks like an empty slot is there
	hiZero bool   // there was a key whose Hi alone does
	arena  *arena // records of the variable forms; nil for the fixed ones
	region *mem.Region
}

type outcome uint8

const (
	inserted outcome = iota
	present
	full
)

func newTable(region *mem.Region, home uint64, a *arena) *table {
	words := region.Uint64s()
	return &table{
		slots:  unsafe.Slice((*Pair)(unsafe.Pointer(&words[0])), len(words)/2),
		home:   home,
		arena:  a,
		region: region,
	}
}

// tableBytes is the memory of a table with the given number of home slots.
func tableBytes(home uint64) int { return int(home+maxProbe) * pairSize }

// place is the slot at which the search for a key starts: the first of a cache
// line. A cluster that starts anywhere in a line crosses into the next one four
// times as often, and that miss nobody announced.
func (t *table) place(order uint64) uint64 {
	line, _ := bits.Mul64(order, t.home/lineSlots)
	return line * lineSlots
}

// announce has the processor fetch the lines at which the searches for keys start.
func (t *table) announce(orders []uint64) {
	prefetch.Scaled(unsafe.Pointer(unsafe.SliceData(t.slots)), t.home/lineSlots, 6, orders)
}

// insert finds or adds a key: (hi, lo) of a fixed form, or (hi, 0) and its
// record. order is hi without the shard's bits.
func (t *table) insert(order, hi, lo uint64, record []byte) outcome {
	if t.arena == nil {
		return t.insertPair(order, Pair{hi, lo})
	}
	used := t.arena.used
	o := t.insertPair(order, Pair{hi, t.arena.add(record)})
	if o != inserted {
		t.arena.used = used
	}
	return o
}

// insertPair is insert for a key whose record, if it has one, is in the arena.
func (t *table) insertPair(order uint64, key Pair) outcome {
	if key == (Pair{}) {
		return t.insertZero()
	}
	i := t.place(order)
	probe := t.slots[i : i+maxProbe]
	for j := range probe {
		p := &probe[j]
		if *p == (Pair{}) {
			*p = key
			t.keys++
			t.hiZero = t.hiZero || key.Hi == 0
			return inserted
		}
		if p.Hi == key.Hi && (p.Lo == key.Lo || t.arena != nil && t.arena.equal(p.Lo, t.arena.record(key.Lo))) {
			return present
		}
	}
	return full
}

// insertNew adds keys that are not there, for which there is room. los are the second
// words, or where the records lie in the arena; shard is the hash bits that an order
// lacks. It returns which of them found no place, in the memory of spilled.
//
// There is no branch that depends on where in its line a key goes: one is
// mispredicted at every other key, and what follows it then starts late on its
// own cache miss. Keys whose line is full come last, when the line after it is there,
// and with them hashes of zero.
func (t *table) insertNew(orders, los []uint64, shard uint64, shardBits uint, spilled []int32) (left []int32) {
	lines, first := t.home/lineSlots, unsafe.Pointer(unsafe.SliceData(t.slots))
	los = los[:len(orders)]
	for i, order := range orders {
		hi := shard | order>>shardBits
		line, _ := bits.Mul64(order, lines)
		l := (*[lineSlots]Pair)(unsafe.Add(first, line*lineSlots*pairSize))
		// The keys of a line fill it from its start.
		at := used(&l[0]) + used(&l[1]) + used(&l[2]) + used(&l[3])
		if at < lineSlots && hi != 0 {
			l[at] = Pair{hi, los[i]}
			continue
		}
		spilled = append(spilled, int32(i))
		prefetch.Bytes(uintptr(unsafe.Pointer(l))+lineSlots*pairSize, 1)
	}
	t.keys += len(orders) - len(spilled)
	for k, i := range spilled {
		order := orders[i]
		if t.insertPair(order, Pair{shard | order>>shardBits, los[i]}) == full {
			return spilled[k:]
		}
	}
	return nil
}

// used is 1 for a key and 0 for an empty slot, without a branch.
func used(p *Pair) uint { return one(p.Hi|p.Lo != 0) }

func (t *table) insertZero() outcome {
	if t.zero {
		return present
	}
	t.zero = true
	t.keys++
	return inserted
}

// find returns the slot of a key, or -1.
func (t *table) find(order, hi, lo uint64, record []byte) int {
	i := t.place(order)
	probe := t.slots[i : i+maxProbe]
	for j := range probe {
		p := &probe[j]
		if p.Hi|p.Lo == 0 {
			return -1
		}
		if p.Hi == hi && (p.Lo == lo || sabotage.On(sabotage.HashDecides) || t.arena != nil && t.arena.equal(p.Lo, record)) {
			return int(i) + j
		}
	}
	return -1
}

func (t *table) has(order, hi, lo uint64, record []byte) bool {
	if hi|lo == 0 && t.arena == nil {
		return t.zero
	}
	return t.find(order, hi, lo, record) >= 0
}

// delete takes a key out and closes the gap: every later key of the cluster
// whose home is at or before the hole moves into it.
func (t *table) delete(order, hi, lo uint64, record []byte, shardBits uint) bool {
	if hi|lo == 0 && t.arena == nil {
		was := t.zero
		t.zero = false
		if was {
			t.keys--
		}
		return was
	}
	hole := t.find(order, hi, lo, record)
	if hole < 0 {
		return false
	}
	for i := hole + 1; i < len(t.slots) && t.slots[i] != (Pair{}); i++ {
		if t.place(t.slots[i].Hi<<shardBits) <= uint64(hole) {
			t.slots[hole] = t.slots[i]
			hole = i
		}
	}
	t.slots[hole] = Pair{}
	t.keys--
	return true
}

// moveTo inserts all keys into the larger, empty table to, which takes over the
// arena. Both are walked in hash order.
func (t *table) moveTo(to *table, shardBits uint) bool {
	to.zero, to.hiZero, to.keys = t.zero, t.hiZero, 0
	if t.zero {
		to.keys = 1
	}
	for _, p := range t.slots {
		if p == (Pair{}) {
			continue
		}
		i := to.place(p.Hi << shardBits)
		probe := to.slots[i : i+maxProbe]
		j := 0
		for j < len(probe) && probe[j] != (Pair{}) {
			j++
		}
		if j == len(probe) {
			return false
		}
		probe[j] = p
		to.keys++
	}
	to.arena = t.arena
	return true
}

// yieldEvery is after how many slots background work lets callers have the
// processor: some 50 µs. Without it a caller that comes out of a system call
// waits for the scheduler's slice of 10 ms.
const yieldEvery = 8192

// sorted appends all pairs to dst in ascending order of (Hi, Lo), or of
// (Hi, record). The lines are nearly in order, and those of a line are put in
// theirs without a branch (10 ns a key; an insertion sort of all slots takes 20). What is
// left is moved into its place: keys that found their line full, and equal hashes.
// A table full of colliding keys would make that quadratic and is sorted anew.
func (t *table) sorted(dst []Pair) []Pair {
	dst = slices.Grow(dst, t.keys+lineSlots)
	if t.zero {
		dst = append(dst, Pair{})
	}
	first, n := len(dst), len(dst)
	last := uint64(0) // Hi of the pair before n
	out, budget := dst[:cap(dst)], 16*len(t.slots)
	for i := 0; i < len(t.slots) && budget > 0 && !t.hiZero; i += lineSlots {
		if i%yieldEvery == 0 {
			runtime.Gosched()
		}
		l, to := (*[lineSlots]Pair)(t.slots[i:]), (*[lineSlots]Pair)(out[n:])
		// A slot's place is how many others of the line go before it: those that are
		// smaller, and equal ones in front of it. Empty slots are the largest.
		a, b, c, d := l[0].Hi-1, l[1].Hi-1, l[2].Hi-1, l[3].Hi-1
		ba, ca, da, cb, db, dc := one(b < a), one(c < a), one(d < a), one(c < b), one(d < b), one(d < c)
		to[(ba+ca+da)%lineSlots] = l[0]
		to[(1-ba+cb+db)%lineSlots] = l[1]
		to[(2-ca-cb+dc)%lineSlots] = l[2]
		to[(3-da-db-dc)%lineSlots] = l[3]
		const empty = math.MaxUint64
		hasB, hasC, hasD := one(b != empty), one(c != empty), one(d != empty)
		used := int(one(a != empty) + hasB + hasC + hasD)
		equal := one(a == b)&hasB | (one(a == c)|one(b == c))&hasC | (one(a == d)|one(b == d)|one(c == d))&hasD
		if out[n].Hi-1 < last || equal != 0 {
			for k := n; k < n+used; k++ {
				budget -= t.sink(out[first : k+1])
			}
		}
		if n += used; n > 0 {
			last = out[n-1].Hi
		}
	}
	if budget > 0 && !t.hiZero {
		return out[:n]
	}
	return t.sortedAnew(out[:first])
}

// sortedAnew appends all pairs to dst and sorts them.
func (t *table) sortedAnew(dst []Pair) []Pair {
	first := len(dst)
	for _, p := range t.slots {
		if p != (Pair{}) {
			dst = append(dst, p)
		}
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
func (t *table) sink(pairs []Pair) (moved int) {
	k := len(pairs) - 1
	for ; k > 0 && t.less(pairs[k], pairs[k-1]); k-- {
		pairs[k], pairs[k-1] = pairs[k-1], pairs[k]
		moved++
	}
	return moved
}

// one is 1 for true, without a branch.
func one(b bool) (n uint) {
	if b {
		n = 1
	}
	return n
}

func (t *table) less(a, b Pair) bool {
	if a.Hi != b.Hi {
		return a.Hi < b.Hi
	}
	if t.arena == nil {
		return a.Lo < b.Lo
	}
	return string(t.arena.record(a.Lo)) < string(t.arena.record(b.Lo))
}
