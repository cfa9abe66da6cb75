package shards

import (
	"encoding/binary"
	"iter"
	"math"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/firstseen/firstseen/internal/mem"
	"github.com/firstseen/firstseen/internal/prefetch"
	"github.com/firstseen/firstseen/internal/sabotage"
)

// A Pair is one stored key: hash and rest of a fixed form, or hash and place of
// the record in the arena.
type Pair = struct{ Hi, Lo uint64 } // an alias, so that package persist can take it

const (
	pairSize = 16
	rowBytes = 32
	rowSlots = rowBytes / 4 // of which the first counts the others
	rowKeys  = rowSlots - 1
	fillKeys = 4 // keys to a row of a full table, of whose rows then one of eight is full
)

var _ [pairSize]byte = [unsafe.Sizeof(Pair{})]byte{}

// maxProbe bounds the rows that one look-up walks: a random key needs one or two, only
// keys chosen to collide need many. A key that finds no place within them makes the
// table count as full. As many rows behind the last home row save the wrap-around,
// so that a scan comes out in hash order.
const maxProbe = MaxPart/rowKeys + 1

const (
	// TableKeyBytes is what a full table takes a key.
	TableKeyBytes = pairSize + float64(rowBytes)/fillKeys
	// MaxTableKeys is the most that a table can hold, so that an entry of its index
	// has some bits of the hash left.
	MaxTableKeys = 1 << 28
)

// A table holds keys in the order in which they came, and an index over them in hash
// order: the home row of a key is order × rows / 2^64, its entry there the place of the
// key and, above it, a tag, the next bits of that product as far as there is room. A
// new key thus writes one random row, of a quarter of the pages that keys in hash order
// would take (8 bytes a key of an index, 32 of slots at load 0.5), and the keys are
// written one after the other: what was written last is what the log gets. The price
// is a second cache line for a key that is there.
type table struct {
	index  []uint32 // home rows and maxProbe more
	rows   uint64   // home rows
	places uint32   // the bits of an entry that are a place, counted from 1
	pairs  []Pair
	used   int // of pairs; deleted keys leave holes
	keys   int
	arena  *arena // records of the variable forms; nil for the fixed ones
	region *mem.Region
}

type outcome uint8

const (
	inserted outcome = iota
	present
	full
)

func homeRows(keys int) int { return (keys + fillKeys - 1) / fillKeys }

// indexBytes is the memory of the index of a table for so many keys: what has to be
// zero in the memory of a new one.
func indexBytes(keys int) int { return (homeRows(keys) + maxProbe) * rowBytes }

// tableBytes is the memory of a table for so many keys.
func tableBytes(keys int) int { return indexBytes(keys) + keys*pairSize }

func newTable(region *mem.Region, keys int, a *arena) *table {
	base, index := unsafe.Pointer(unsafe.SliceData(region.Uint64s())), indexBytes(keys)
	return &table{
		index:  unsafe.Slice((*uint32)(base), index/4),
		rows:   uint64(homeRows(keys)),
		places: 1<<bits.Len(uint(keys)) - 1,
		pairs:  unsafe.Slice((*Pair)(unsafe.Add(base, index)), keys),
		arena:  a,
		region: region,
	}
}

// room reports whether n more keys fit, but for their records.
func (t *table) room(n int) bool { return t.used+n <= len(t.pairs) }

// home returns where the search for a key starts, and its tag.
func (t *table) home(order uint64) (row uint64, tag uint32) {
	row, next := bits.Mul64(order, t.rows)
	return row, uint32(next>>32) &^ t.places
}

// row returns a row of the index: how many entries it has, and the entries. Those of
// deleted keys in a full row are zero, and those behind the others in one that is not.
func (t *table) row(n uint64) *[rowSlots]uint32 {
	return (*[rowSlots]uint32)(t.index[n*rowSlots:])
}

// announce has the processor fetch the rows at which the searches for keys start.
func (t *table) announce(orders []uint64) {
	prefetch.Scaled(unsafe.Pointer(unsafe.SliceData(t.index)), t.rows, 5, orders)
}

// insert finds or adds a key, for which there is room: (hi, lo) of a fixed form, or
// (hi, 0) and its record. order is hi without the shard's bits.
func (t *table) insert(order, hi, lo uint64, record []byte) outcome {
	if t.find(order, hi, lo, record) >= 0 {
		return present
	}
	if _, ok := t.insertAbsent(order, hi, lo, record); !ok {
		return full
	}
	return inserted
}

// insertAbsent is insert for a key that is not there. It reports whether there was a place
// for it, and returns what the log gets of it, or nil where that has to be made.
func (t *table) insertAbsent(order, hi, lo uint64, record []byte) (log []byte, ok bool) {
	if t.arena == nil {
		if !t.add(order, Pair{hi, lo}) {
			return nil, false
		}
		return payload(t.pairs[t.used-1 : t.used]), true
	}
	used := t.arena.used
	ok = t.add(order, Pair{hi, t.arena.add(record)})
	return t.arena.since(used), ok
}

// add adds a key that is not there, for which there is room, unless it finds no place.
func (t *table) add(order uint64, p Pair) bool {
	if !t.enter(order, t.used+1) {
		return false
	}
	t.pairs[t.used] = p
	t.used++
	t.keys++
	return true
}

// insertNew adds keys that are not there, and that stand in pairs behind the used
// ones already. It returns which of them found no place, in the memory of spilled.
//
// Where in its row a key goes is counted, not searched: a branch would be mispredicted
// at every other key, and what follows it then starts late on its own cache miss. Keys
// whose row is full come last, when the row after it is there.
func (t *table) insertNew(orders []uint64, spilled []int32) (left []int32) {
	first, rows, places, place := unsafe.Pointer(unsafe.SliceData(t.index)), t.rows, t.places, uint32(t.used)
	for i, order := range orders {
		place++
		row, next := bits.Mul64(order, rows)
		r := (*[rowSlots]uint32)(unsafe.Add(first, row*rowBytes))
		if n := r[0]; n < rowKeys {
			r[0] = n + 1
			r[n+1] = uint32(next>>32)&^places | place
			continue
		}
		spilled = append(spilled, int32(i))
		prefetch.Bytes(uintptr(unsafe.Pointer(r))+rowBytes, 1)
	}
	for _, i := range spilled {
		if !t.enter(orders[i], t.used+int(i)+1) {
			left = append(spilled[:len(left)], i)
		}
	}
	t.used += len(orders)
	t.keys += len(orders) - len(left)
	return left
}

// enter puts the place of a new key into the index, unless there is none for it.
func (t *table) enter(order uint64, place int) bool {
	row, tag := t.home(order)
	for end := row + maxProbe; row < end; row++ {
		r := t.row(row)
		if r[0] < rowKeys {
			r[0]++
			r[r[0]] = tag | uint32(place)
			return true
		}
		for j := 1; j < rowSlots; j++ {
			if r[j] == 0 { // of a deleted key
				r[j] = tag | uint32(place)
				return true
			}
		}
	}
	return false
}

// find returns where in the index the entry of a key is, or -1.
func (t *table) find(order, hi, lo uint64, record []byte) int {
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
func (t *table) match(r *[rowSlots]uint32, tag uint32) (slots uint) {
	p := t.places
	return one(r[1]^tag <= p)<<1 | one(r[2]^tag <= p)<<2 | one(r[3]^tag <= p)<<3 | one(r[4]^tag <= p)<<4 |
		one(r[5]^tag <= p)<<5 | one(r[6]^tag <= p)<<6 | one(r[7]^tag <= p)<<7
}

// unsure is a candidate that only find can tell.
const unsure = math.MaxUint32

// candidates returns in dst's memory, for each of the keys at, the entry that may be its
// own, 0 if there is none, or unsure, and has the processor fetch the keys they stand for.
func (t *table) candidates(dst []uint32, orders []uint64, at []int32) []uint32 {
	dst = dst[:len(at)]
	for k, i := range at {
		row, tag := t.home(orders[i])
		r := t.row(row)
		m := t.match(r, tag)
		e := r[bits.TrailingZeros(m|1<<rowSlots)%rowSlots] & t.places
		e *= uint32(one(m != 0))
		ask := one(e == 0) & one(r[0] == rowKeys)
		dst[k] = e | -uint32(ask)
	}
	// Two times: see ahead.
	first := unsafe.Add(unsafe.Pointer(unsafe.SliceData(t.pairs)), -pairSize)
	prefetch.Places(first, 4, dst)
	prefetch.Places(first, 4, dst)
	return dst
}

// holds is has for a key with a candidate.
func (t *table) holds(candidate uint32, order, hi, lo uint64, record []byte) bool {
	switch {
	case candidate == 0:
		return false
	case candidate != unsure && t.is(candidate, hi, lo, record):
		return true
	}
	return t.has(order, hi, lo, record)
}

// is reports whether an entry is a key's.
func (t *table) is(entry uint32, hi, lo uint64, record []byte) bool {
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

// pair returns the key of an entry.
func (t *table) pair(entry uint32) *Pair { return &t.pairs[entry&t.places-1] }

func (t *table) has(order, hi, lo uint64, record []byte) bool {
	return t.find(order, hi, lo, record) >= 0
}

// delete takes a key out. A search goes on behind full rows only, so in those its
// entry stays, as zero.
func (t *table) delete(order, hi, lo uint64, record []byte) bool {
	at := t.find(order, hi, lo, record)
	if at < 0 {
		return false
	}
	if int(t.index[at]&t.places) == t.used {
		t.used--
	}
	r := t.row(uint64(at / rowSlots))
	if r[0] < rowKeys {
		t.index[at], r[r[0]] = r[r[0]], 0
		r[0]--
	} else {
		t.index[at] = 0
	}
	if t.keys--; t.keys == 0 {
		t.used = 0
	}
	return true
}

// all yields the keys: as they lie, or where there are holes nearly in hash order.
func (t *table) all() iter.Seq[Pair] {
	if t.keys == t.used {
		return slices.Values(t.pairs[:t.used])
	}
	return func(yield func(Pair) bool) {
		for n := range uint64(len(t.index) / rowSlots) {
			r := t.row(n)
			for _, e := range r[1 : 1+r[0]] {
				if e != 0 && !yield(*t.pair(e)) {
					return
				}
			}
		}
	}
}

// moveTo adds all keys to the empty table to, which has room for them and takes over the
// arena. It reports whether all found a place.
func (t *table) moveTo(to *table, shardBits uint) bool {
	for p := range t.all() {
		if !to.add(p.Hi<<shardBits, p) {
			return false
		}
	}
	to.arena = t.arena
	return true
}

// unused returns the pairs behind the used ones, for n keys.
func (t *table) unused(n int) []Pair { return t.pairs[t.used : t.used+n] }

// littleEndian says that pairs lie in memory as the log wants them.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// announceUnused has the processor fetch the memory of the next n keys: what is written
// would wait for it, 7 ns a key (split).
func (t *table) announceUnused(n int) {
	next := t.pairs[t.used:min(t.used+n, len(t.pairs))]
	prefetch.Bytes(uintptr(unsafe.Pointer(unsafe.SliceData(next))), len(next)*pairSize)
}

// payload returns what the log gets of the keys in pairs, or nil where it has to be made.
func payload(pairs []Pair) []byte {
	if !littleEndian {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(pairs))), len(pairs)*pairSize)
}
