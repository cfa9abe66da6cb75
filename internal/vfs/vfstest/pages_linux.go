package vfstest

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PagesInMemory counts the pages of p, which begins and ends with one, in the page cache.
func PagesInMemory(t testing.TB, p []byte) (n int) {
	t.Helper()
	in := make([]byte, len(p)/os.Getpagesize())
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(unsafe.Pointer(unsafe.SliceData(in)))); errno != 0 {
		t.Fatal(errno)
	}
	for _, b := range in {
		n += int(b & 1)
	}
	return n
}
