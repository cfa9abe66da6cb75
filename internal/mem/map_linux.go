//go:build linux && !purego

package mem

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// hugeBytes is the size of a transparent huge page on amd64, and on arm64
	// with 4 KiB pages.
	hugeBytes = 2 << 20
	// touchBytes is what one system call of Touch populates. It holds the
	// process's memory map for reading meanwhile, and the runtime's own
	// mappings wait: 8 MiB are about 1 ms.
	touchBytes = 8 << 20
)

// mapWords maps bytes (a multiple of 8) of zeroed memory, on a 2 MiB boundary
// and with huge pages where there is room for one.
func mapWords(bytes int) ([]uint64, error) {
	length := mappingLength(bytes)
	huge := bytes >= hugeBytes
	if huge {
		length += hugeBytes // room to cut an aligned piece out
	}
	base, err := unix.MmapPtr(-1, 0, nil, uintptr(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	if huge {
		base = alignHuge(base, mappingLength(bytes))
		// Advice: without transparent huge pages in the kernel all still works.
		_ = unix.Madvise(unsafe.Slice((*byte)(base), mappingLength(bytes)), unix.MADV_HUGEPAGE)
	}
	return unsafe.Slice((*uint64)(base), bytes/8), nil
}

// alignHuge unmaps what lies before and after the aligned piece of the given
// length in a mapping that is hugeBytes longer, and returns the piece.
func alignHuge(base unsafe.Pointer, length int) unsafe.Pointer {
	head := int(-uintptr(base) % hugeBytes)
	piece := unsafe.Add(base, head)
	// An error leaves address space mapped that nobody uses; no page of it is
	// ever resident.
	if head > 0 {
		_ = unix.MunmapPtr(base, uintptr(head))
	}
	if tail := hugeBytes - head; tail > 0 {
		_ = unix.MunmapPtr(unsafe.Add(piece, length), uintptr(tail))
	}
	return piece
}

// mappingLength rounds up to the system's page.
func mappingLength(bytes int) int {
	page := os.Getpagesize()
	return (bytes + page - 1) / page * page
}

func unmapWords(words []uint64) {
	// It can only fail for a range that is no mapping, a mistake of this file.
	if err := unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(words)), uintptr(mappingLength(len(words)*8))); err != nil {
		panic("mem: munmap of own mapping: " + err.Error())
	}
}

// touchWords write-faults every page. MADV_POPULATE_WRITE (Linux 5.14) does so
// without a store; on older kernels an atomic addition of 0 stores what is
// there, which no concurrent store can be lost to.
func touchWords(words []uint64) {
	all := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), mappingLength(len(words)*8))
	for done := 0; done < len(all); done += touchBytes {
		if err := unix.Madvise(all[done:min(done+touchBytes, len(all))], unix.MADV_POPULATE_WRITE); err != nil {
			touchByStore(words[done/8:])
			return
		}
	}
}

func touchByStore(words []uint64) {
	step := os.Getpagesize() / 8
	for i := 0; i < len(words); i += step {
		atomic.AddUint64(&words[i], 0)
	}
}
