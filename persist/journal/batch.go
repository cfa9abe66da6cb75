package journal

import (
	"unsafe"

	"github.com/firstseen/firstseen/internal/prefetch"
)

// batch holds frames that lie one behind the other in the log. The journal has two, guarded
// by Journal.mu: Append fills one while the other is written. A leader takes one out under mu
// and owns it until it puts it back as spare.
type batch struct {
	data  []byte // whole frames, as they will lie in the ring
	start Pos    // of data[0]
	// wrap says that data[wrap:] begins at the ring's start; -1: it does not get there. It
	// gets there once at most: a batch keeps its room until it is written, so it is never
	// longer than a lap.
	wrap int
}

func (b *batch) reset(start Pos) {
	if b.data = b.data[:0]; cap(b.data) > keepBatch {
		b.data = nil
	}
	b.start, b.wrap = start, -1
}

// halves returns what lies before and behind the ring's end.
func (b *batch) halves() (first, second []byte) {
	if b.wrap < 0 {
		return b.data, nil
	}
	return b.data[:b.wrap], b.data[b.wrap:]
}

// write hands a batch to the operating system and returns the number of system
// calls it took. The caller owns the batch and does not hold mu. At a lap's end there are two
// calls. A kill between them leaves whole frames and the pad, and the log ends there.
//
// Under SyncAlways a sync follows each batch and takes away the right to store to its pages,
// so that a copy into the mapping would be one page fault after the other.
func (j *Journal) write(b *batch) (uint64, error) {
	if len(b.data) == 0 {
		return 0, nil
	}
	if j.ring != nil && len(b.data) <= smallBatch && j.cfg.Sync != SyncAlways {
		j.copyToRing(b)
		return 0, nil
	}
	first, second := b.halves()
	off, n := b.start%j.size, uint64(0)
	if len(first) > 0 {
		n++
		if _, err := j.file.WriteAt(first, ringStart+int64(off)); err != nil {
			return n, err
		}
	}
	if len(second) > 0 {
		n++
		if _, err := j.file.WriteAt(second, ringStart); err != nil {
			return n, err
		}
	}
	return n, nil
}

// copyToRing copies a batch into the mapped ring: no system call, and the operating system
// has it all the same, since the page cache outlives the process.
func (j *Journal) copyToRing(b *batch) {
	first, second := b.halves()
	off := b.start % j.size
	copy(j.ring[off:], first)
	copy(j.ring, second)
	j.copied(len(b.data), b.start+uint64(len(b.data)), off+uint64(len(b.data)))
}

// copied notes that so many bytes were copied into the ring, up to the position end, and
// prefetches the offset next, where the next frame goes.
func (j *Journal) copied(bytes int, end Pos, next uint64) {
	if next < j.size {
		prefetch.Bytes(uintptr(unsafe.Pointer(unsafe.SliceData(j.ring[next:]))), 128) // where the next one goes: a store that misses holds up every lock behind it
	}
	j.pages.wrote(bytes, end)
}
