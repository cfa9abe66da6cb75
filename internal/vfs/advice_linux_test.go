package vfs

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firstseen/firstseen/internal/vfs/vfstest"
)

// TestAdvise: of a file that is not in memory a look at one byte brings its own page and
// no others, and what is needed comes without a look.
func TestAdvise(t *testing.T) {
	const size = 4 << 20
	random := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(random)
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(random); err != nil {
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
	pages := func(p []byte) int { return vfstest.PagesInMemory(t, p) }
	if err := unix.Fadvise(int(f.Fd()), 0, size, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if n := pages(p); n > 0 {
		t.Skipf("%d pages can't be put out of memory: the temporary directory has no disk", n)
	}
	AdviseRandom(address(p), address(p)+size)
	if p[size/2+100] != random[size/2+100] {
		t.Error("the file holds something else")
	}
	if n := pages(p); n > 4 {
		t.Errorf("a look at one byte brought %d pages", n)
	}
	needed := p[1<<20 : 2<<20]
	AdviseNeeded(needed[100 : len(needed)-100])
	for end := time.Now().Add(10 * time.Second); pages(needed) < len(needed)/os.Getpagesize(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d pages came", pages(needed), len(needed)/os.Getpagesize())
		}
	}
}
