//go:build linux && !purego

package mem

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestLargeRegionsStartOnAHugePage(t *testing.T) {
	for _, size := range []int{hugeBytes, hugeBytes + 8, 7*hugeBytes + 4096} {
		r := alloc(t, size)
		if at := uintptr(unsafe.Pointer(unsafe.SliceData(r.Uint64s()))); at%hugeBytes != 0 {
			t.Errorf("%d bytes start at %#x", size, at)
		}
		r.Free()
	}
}

func TestTouchMakesPagesResident(t *testing.T) {
	r := alloc(t, 10<<20+4096)
	defer r.Free()
	if n := resident(t, r); n != 0 {
		t.Fatalf("%d pages resident before Touch", n)
	}
	r.TouchFirst(3<<20 + 1)
	// Huge pages round up, and so do those of 4 KiB.
	if n := resident(t, r); (n < 3<<8+1 || n > 4<<8) && unix.Getpagesize() == 4096 {
		t.Errorf("%d pages resident after TouchFirst of %d", n, 3<<8+1)
	}
	r.Touch()
	if n, want := resident(t, r), len(r.Bytes())/4096; n != want && unix.Getpagesize() == 4096 {
		t.Errorf("%d pages resident after Touch, want %d", n, want)
	}
}

func TestTouchByStore(t *testing.T) {
	r := alloc(t, 1<<20)
	defer r.Free()
	touchByStore(r.Uint64s())
	if n, want := resident(t, r), len(r.Bytes())/4096; n != want && unix.Getpagesize() == 4096 {
		t.Errorf("%d pages resident, want %d", n, want)
	}
}

// resident counts the region's pages that are in memory.
func resident(t *testing.T, r *Region) int {
	t.Helper()
	b := r.Bytes()
	vec := make([]byte, (len(b)+unix.Getpagesize()-1)/unix.Getpagesize())
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&vec[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	n := 0
	for _, v := range vec {
		n += int(v & 1)
	}
	return n
}
