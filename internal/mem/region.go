package mem

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

const (
	// smallLimit is the size in bytes from which a region is mapped. Below it a
	// mapping's own cost (two system calls, a page's rounding) outweighs what
	// the heap costs.
	smallLimit = 64 << 10
	// lineBytes is a cache line. Every region starts on one, so that a line of
	// a filter is one miss.
	lineBytes = 64
	// maxBytes keeps sizes far from overflow: 128 TiB, a process's address
	// space on amd64.
	maxBytes = 1 << 47
)

// inUse is the sum of the sizes of all regions that are allocated.
var inUse atomic.Int64

// A Region is a block of zeroed memory that starts on a cache line.
type Region struct {
	words  []uint64
	bytes  int
	mapped bool // words lie in a mapping of our own, not on the heap
}

// Alloc returns a region of the given number of bytes, all zero. The size is
// rounded up to a multiple of 8; Bytes and Uint64s show the rounded size. No
// page of a large region is resident before it is written: see Touch.
func Alloc(bytes int) (*Region, error) {
	if bytes < 0 || uint64(bytes) > maxBytes {
		return nil, fmt.Errorf("mem: can't allocate %d bytes", bytes)
	}
	bytes = (bytes + 7) &^ 7
	r := &Region{bytes: bytes}
	if bytes >= smallLimit {
		words, err := mapWords(bytes)
		if err != nil {
			return nil, fmt.Errorf("mem: allocate %d bytes: %w", bytes, err)
		}
		r.words, r.mapped = words, words != nil
	}
	if r.words == nil {
		r.words = heapWords(bytes)
	}
	inUse.Add(int64(bytes))
	return r, nil
}

// heapWords returns a slice on the heap that starts on a cache line: the heap
// aligns only to size classes, so it asks for one line more and cuts. The
// collector does not move what it handed out, so the alignment lasts.
func heapWords(bytes int) []uint64 {
	n := bytes / 8
	s := make([]uint64, n+lineBytes/8)
	skip := 0
	if off := uintptr(unsafe.Pointer(unsafe.SliceData(s))) % lineBytes; off != 0 {
		skip = int(lineBytes-off) / 8
	}
	return s[skip : skip+n : skip+n]
}

// Uint64s returns the region as words. The slice must not be used after Free.
func (r *Region) Uint64s() []uint64 { return r.words }

// Bytes returns the region as bytes, in the processor's own byte order. The
// slice must not be used after Free.
func (r *Region) Bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(r.words))), r.bytes)
}

// Touch makes every page of the region resident and writable and changes no
// content, so that no later access waits for the kernel to find and zero a
// page (about 0.1 ms a huge page). It may run in the background beside readers
// and writers of the region, but not beside Free.
func (r *Region) Touch() { r.TouchFirst(r.bytes) }

// TouchFirst is Touch for the pages of the first bytes.
func (r *Region) TouchFirst(bytes int) {
	if r.mapped {
		touchWords(r.words[:(min(bytes, r.bytes)+7)/8])
	}
}

// Free returns the memory. The region and its slices must not be used
// afterwards; a second Free does nothing.
func (r *Region) Free() {
	if r.words == nil {
		return
	}
	if r.mapped {
		unmapWords(r.words)
	}
	inUse.Add(-int64(r.bytes))
	r.words, r.bytes, r.mapped = nil, 0, false
}

// InUse returns the sum of the sizes in bytes of all regions of the process
// that are not freed, resident or not.
func InUse() int64 { return inUse.Load() }
