package keytable

import (
	"iter"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/firstseen/firstseen/internal/mem"
	"github.com/firstseen/firstseen/internal/prefetch"
)

// A Pair is one stored key: hash and rest of a fixed form, or hash and place of
// the record in the arena.
type Pair = struct{ Hi, Lo uint64 } // an alias, so that package persist can take it

const (
	// PairBytes is the size of a Pair.
	PairBytes = 16
	rowBytes  = 32
	rowSlots  = rowBytes / 4 // of which the first counts the others
	rowKeys   = rowSlots - 1
	// fillKeys is how many keys a full table has per row; then one row of eight is full.
	fillKeys = 4
)

var _ [PairBytes]byte = [unsafe.Sizeof(Pair{})]byte{}

// MaxInsert is the most keys that one InsertNew may add.
const MaxInsert = 2048

// maxProbe bounds the rows that one look-up walks: a random key needs one or two, only
// keys chosen to collide need many. A key that finds no place within them makes the
// table count as full. There are as many rows behind the last home row, so that no
// search wraps around and a scan comes out in hash order.
const maxProbe = MaxInsert/rowKeys + 1

const (
	// KeyBytes is what a full table takes per key, records apart.
	KeyBytes = PairBytes + float64(rowBytes)/fillKeys
	// MaxKeys is the most that a table can hold, so that an entry of its index
	// has some bits left for a tag.
	MaxKeys = 1 << 28
)

// A Table holds keys of one form. See the package's documentation.
//
// The home row of a key is order × rows / 2^64, and its tag is the next bits of that
// product, as many as an entry has room for. Entries fill a row from its start; a search
// goes on behind full rows only.
type Table struct {
	// index and rows are set by newTable and not changed, so Prefetch and Rows need no lock.
	index []uint32 // home rows and maxProbe more
	rows  uint64   // home rows
	// places are the bits of an entry that are a place. Places are counted from 1, so that an
	// entry of zero is none; what is above them is the tag.
	places uint32
	pairs  []Pair
	used   int    // of pairs, the holes of deleted keys included: the next key goes there
	keys   int    // without them; less than used where there are holes
	arena  *arena // records of the variable forms; nil for the fixed ones
	region *mem.Region
}

// An Outcome is what became of a key that was inserted.
type Outcome uint8

const (
	Inserted Outcome = iota
	Present          // it was there
	Full             // it collides with too many others
)

func homeRows(keys int) int { return (keys + fillKeys - 1) / fillKeys }

// indexBytes is the memory of the index of a table for so many keys: what has to be
// zero in the memory of a new one.
func indexBytes(keys int) int { return (homeRows(keys) + maxProbe) * rowBytes }

// tableBytes is the memory of a table for so many keys.
func tableBytes(keys int) int { return indexBytes(keys) + keys*PairBytes }

// touchLimit is the size in bytes from which a new table is not made resident as a whole,
// since that would take too long. Untouched pages cost more per page: a look at one maps
// the page of zeroes, and the store that follows interrupts every processor to take it back.
const touchLimit = 4 << 20

// New returns an empty table for so many keys, up to MaxKeys.
func New(keys int) (*Table, error) {
	region, err := mem.Alloc(tableBytes(keys))
	if err != nil {
		return nil, err
	}
	if len(region.Bytes()) < touchLimit {
		region.Touch()
	}
	return newTable(region, keys), nil
}

// newTable makes a table of a region whose index is zero. The index comes first, where a page
// begins, so that no row crosses a cache line. What the pairs hold does not matter.
func newTable(region *mem.Region, keys int) *Table {
	base, index := unsafe.Pointer(unsafe.SliceData(region.Uint64s())), indexBytes(keys)
	return &Table{
		index:  unsafe.Slice((*uint32)(base), index/4),
		rows:   uint64(homeRows(keys)),
		places: 1<<bits.Len(uint(keys)) - 1,
		pairs:  unsafe.Slice((*Pair)(unsafe.Add(base, index)), keys),
		region: region,
	}
}

// Len returns the number of keys.
func (t *Table) Len() int { return t.keys }

// Cap returns the number of keys that the table was made for.
func (t *Table) Cap() int { return len(t.pairs) }

// Used returns how many keys of Cap are used up: deleted ones leave holes.
func (t *Table) Used() int { return t.used }

// Bytes returns the size in memory.
func (t *Table) Bytes() (n int) {
	n = len(t.region.Bytes())
	if t.arena != nil {
		n += len(t.arena.region.Bytes())
	}
	return n
}

// StoredBytes returns the size of the keys themselves, without hashes of those that have
// records.
func (t *Table) StoredBytes() int {
	if t.arena != nil {
		return t.arena.used
	}
	return PairBytes * t.keys
}

// Room reports whether n more keys fit, but for their records.
func (t *Table) Room(n int) bool { return t.used+n <= len(t.pairs) }

// RecordRoom reports whether the records of n more keys fit, whatever their length.
func (t *Table) RecordRoom(n int) bool { return t.arena == nil || t.arena.room(n) }

// HasRecords reports whether the keys have records.
func (t *Table) HasRecords() bool { return t.arena != nil }

// Record returns the record behind a pair.
func (t *Table) Record(p Pair) []byte { return t.arena.record(p.Lo) }

// PrefetchRecord prefetches the record behind a pair.
func (t *Table) PrefetchRecord(p Pair) { t.arena.prefetch(p.Lo) }

// home returns where the search for a key starts, and its tag.
func (t *Table) home(order uint64) (row uint64, tag uint32) {
	row, next := bits.Mul64(order, t.rows)
	return row, uint32(next>>32) &^ t.places
}

// row returns a row of the index: how many entries it has, and the entries. Those of
// deleted keys in a full row are zero, and those behind the others in one that is not.
func (t *Table) row(n uint64) *[rowSlots]uint32 {
	return (*[rowSlots]uint32)(t.index[n*rowSlots:])
}

// Rows returns the first home row and their number; a row has 32 bytes. They are for
// prefetching only: the row of an order is the high word of order × n.
func (t *Table) Rows() (first unsafe.Pointer, n uint64) {
	return unsafe.Pointer(unsafe.SliceData(t.index)), t.rows
}

// Prefetch prefetches the rows at which the searches for keys start.
func (t *Table) Prefetch(orders []uint64) {
	prefetch.Scaled(unsafe.Pointer(unsafe.SliceData(t.index)), t.rows, 5, orders)
}

// pair returns the key of an entry.
func (t *Table) pair(entry uint32) *Pair { return &t.pairs[entry&t.places-1] }

// All yields the keys: as they lie, or where there are holes nearly in hash order.
func (t *Table) All() iter.Seq[Pair] {
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

// Stored returns the keys from the at-th on, in the order in which they came. Deleted ones may
// be among them.
func (t *Table) Stored(at int) []Pair { return t.pairs[min(at, t.used):t.used] }

// MoveTo adds all keys to the empty table to, which has room for them, and gives it the
// arena, so that records stay where they are and pairs stay true. An order is the hash without
// its first shardBits bits. It reports whether all found a place; if not, t is as it was, and
// to is of no use any more.
func (t *Table) MoveTo(to *Table, shardBits uint) bool {
	for p := range t.All() {
		if !to.add(p.Hi<<shardBits, p) {
			return false
		}
	}
	t.arena, to.arena = nil, t.arena
	return true
}

// Free frees the memory of a table that is not given back to a pool. A nil table has none.
func (t *Table) Free() {
	if t == nil {
		return
	}
	t.region.Free()
	if t.arena != nil {
		t.arena.region.Free()
	}
}
