package keytable

import (
	"encoding/binary"
	"math/bits"
	"unsafe"

	"github.com/firstseen/firstseen/internal/prefetch"
)

// Insert finds or adds a key, for which there is room: (hi, lo) of a fixed form, or
// (hi, 0) and its record. order is hi without the shard's bits.
func (t *Table) Insert(order, hi, lo uint64, record []byte) Outcome {
	if t.Has(order, hi, lo, record) {
		return Present
	}
	if _, ok := t.InsertAbsent(order, hi, lo, record); !ok {
		return Full
	}
	return Inserted
}

// InsertAbsent is Insert for a key that is not there. It reports whether there was a place
// for it, and returns the journal's payload of it, or nil where that has to be made.
func (t *Table) InsertAbsent(order, hi, lo uint64, record []byte) (payload []byte, ok bool) {
	if t.arena == nil {
		if !t.add(order, Pair{hi, lo}) {
			return nil, false
		}
		return Payload(t.pairs[t.used-1 : t.used]), true
	}
	used := t.arena.used
	ok = t.add(order, Pair{hi, t.arena.add(record)})
	return t.arena.since(used), ok
}

// add adds a key that is not there, for which there is room, unless it finds no place.
func (t *Table) add(order uint64, p Pair) bool {
	if !t.enter(order, t.used+1) {
		return false
	}
	t.pairs[t.used] = p
	t.used++
	t.keys++
	return true
}

// Unused returns the pairs behind the used ones, for n keys that are going to be inserted.
func (t *Table) Unused(n int) []Pair { return t.pairs[t.used : t.used+n] }

// PrefetchUnused prefetches the memory of the next n keys: writing them would wait for it,
// 7 ns per key.
func (t *Table) PrefetchUnused(n int) {
	next := t.pairs[t.used:min(t.used+n, len(t.pairs))]
	prefetch.Bytes(uintptr(unsafe.Pointer(unsafe.SliceData(next))), len(next)*PairBytes)
}

// AddRecords copies the records of the keys at, of which there is room for all, and puts
// their places into pairs. It returns the journal's payload of them. A table of a fixed
// form has none.
func (t *Table) AddRecords(at []int32, records [][]byte, pairs []Pair) (payload []byte) {
	used := t.arena.used
	for k, i := range at {
		pairs[k].Lo = t.arena.add(records[i])
	}
	return t.arena.since(used)
}

// InsertNew adds up to MaxInsert keys that are not there, no two of them equal, and that
// stand in Unused already. It returns which of them found no place, in the memory of spilled.
// Those leave holes among the pairs, as deleted keys do.
//
// Where in its row a key goes is counted, not searched: a branch would be mispredicted
// at every other key, and what follows it then starts late on its own cache miss. Keys
// whose row is full come last, when the row after it is there.
func (t *Table) InsertNew(orders []uint64, spilled []int32) (left []int32) {
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
	// left may share spilled's memory: it never has more than were looked at.
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
func (t *Table) enter(order uint64, place int) bool {
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

// Delete takes a key out. A search goes on behind full rows only, so in those its
// entry stays, as zero: with the count lowered, keys that found the row full would be lost.
// In a row that is not full the last entry takes its place, since entries fill a row from its
// start.
func (t *Table) Delete(order, hi, lo uint64, record []byte) bool {
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

// littleEndian says that pairs lie in memory as the journal wants them.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Payload returns the journal's payload of the keys in pairs, of a fixed form, or nil where
// it has to be made.
func Payload(pairs []Pair) []byte {
	if !littleEndian {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(pairs))), len(pairs)*PairBytes)
}
