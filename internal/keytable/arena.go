package keytable

import (
	"unsafe"

	"github.com/firstseen/firstseen/internal/mem"
	"github.com/firstseen/firstseen/internal/prefetch"
)

// An arena holds the records of variable length of one table, each behind its
// length in one byte: as the journal and runs store them. A place is an offset plus one, so
// that no place is zero. It is guarded as its table is.
type arena struct {
	buf    []byte // of region; its bytes behind used are of an earlier table
	used   int    // bytes; it only grows, so a record stays where it is
	region *mem.Region
}

const (
	// MaxRecord is the most that a record takes: its length byte and 255 bytes.
	MaxRecord = 256
	// RecordBytes sizes the arena of a table, in bytes per key: a table is also full when
	// its arena can't take another part of the longest records.
	RecordBytes = 48
)

// arenaBytes is the memory of the arena of a table for so many keys, the last MaxInsert of
// which may be as long as records get.
func arenaBytes(keys int) int { return max(keys-MaxInsert, 0)*RecordBytes + MaxInsert*MaxRecord }

func newArena(region *mem.Region) *arena { return &arena{buf: region.Bytes(), region: region} }

// add copies a record. The caller has asked for room, once for a whole part.
func (a *arena) add(record []byte) (place uint64) {
	place = uint64(a.used) + 1
	a.buf[a.used] = byte(len(record))
	a.used += 1 + copy(a.buf[a.used+1:], record)
	return place
}

// since returns what was added since used had that value. Its capacity ends with it: an append
// by the caller must copy, and not write over the records that follow.
func (a *arena) since(used int) []byte { return a.buf[used:a.used:a.used] }

func (a *arena) record(place uint64) []byte {
	b := a.buf[place-1:]
	n := int(b[0])
	return b[1 : 1+n : 1+n]
}

func (a *arena) equal(place uint64, record []byte) bool {
	return string(a.record(place)) == string(record)
}

// prefetch prefetches a record: most lie in two cache lines.
func (a *arena) prefetch(place uint64) {
	prefetch.Bytes(uintptr(unsafe.Pointer(&a.buf[place-1])), 64)
}

// room reports whether n records of any length fit.
func (a *arena) room(n int) bool { return len(a.buf)-a.used >= n*MaxRecord }
