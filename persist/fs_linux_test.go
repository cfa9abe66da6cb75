package persist

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAdvise: of a file that is not in memory a look at one byte brings its own page and
// no others, and what is needed comes without a look.
func TestAdvise(t *testing.T) {
	const size = 4 << 20
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte{7}, size)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	p, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(p) }()
	pages := func(p []byte) (n int) {
		t.Helper()
		in := make([]byte, len(p)/os.Getpagesize())
		if _, _, errno := unix.Syscall(unix.SYS_MINCORE, address(p), uintptr(len(p)), address(in)); errno != 0 {
			t.Fatal(errno)
		}
		for _, b := range in {
			n += int(b & 1)
		}
		return n
	}
	if err := unix.Fadvise(int(f.Fd()), 0, size, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if n := pages(p); n > 0 {
		t.Skipf("%d pages can't be put out of memory: the temporary directory has no disk", n)
	}
	adviseRandom(p)
	if p[size/2+100] != 7 {
		t.Error("the file holds something else")
	}
	if n := pages(p); n > 4 {
		t.Errorf("a look at one byte brought %d pages", n)
	}
	needed := p[1<<20 : 2<<20]
	adviseNeeded(needed[100 : len(needed)-100])
	for end := time.Now().Add(10 * time.Second); pages(needed) < len(needed)/os.Getpagesize(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d pages came", pages(needed), len(needed)/os.Getpagesize())
		}
	}
}
