package persist

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	pages := func(p []byte) int { return pagesInMemory(t, p) }
	if err := unix.Fadvise(int(f.Fd()), 0, size, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if n := pages(p); n > 0 {
		t.Skipf("%d pages can't be put out of memory: the temporary directory has no disk", n)
	}
	adviseRandom(p)
	if p[size/2+100] != random[size/2+100] {
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

// pagesInMemory counts the pages of p, which begins and ends with one, in the page cache.
func pagesInMemory(t *testing.T, p []byte) (n int) {
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

// TestRunAdvice: a run's map is read at random, and a cold look-up has all of its blocks
// read before it looks.
func TestRunAdvice(t *testing.T) {
	keys := makeKeys(0, 60_000, 1)
	s := newTestSegment(t)
	r := writeRun(t, s, RunSpec{ID: 1}, keys)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	value := r.values[0]
	if flags := mapFlags(t, address(value)); !strings.Contains(flags, " rr") {
		t.Errorf("the map of a run has the flags%s, want rr among them", flags)
	}
	page := uintptr(os.Getpagesize())
	whole := value[-address(value)%page:]
	whole = whole[:uintptr(len(whole))/page*page]
	unmapPages(whole)
	logs, err := filepath.Glob(filepath.Join(s.path, "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range logs {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			t.Fatal(err)
		}
	}
	all := len(whole) / int(page)
	if n := pagesInMemory(t, whole); n > all/10 {
		t.Skipf("%d of %d pages can't be put out of memory: the temporary directory has no disk", n, all)
	}
	var qs []Query
	for _, k := range keys {
		q := k.query()
		q.Run = r
		qs = append(qs, q)
	}
	readBlocks(qs)
	for end := time.Now().Add(10 * time.Second); pagesInMemory(t, whole) < all; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d pages came", pagesInMemory(t, whole), all)
		}
	}
}

// mapFlags returns the flags of the map that holds an address.
func mapFlags(t *testing.T, at uintptr) string {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	here := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			here = from <= at && at < to
		}
		if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && here {
			return flags
		}
	}
	t.Fatal("no map holds the value")
	return ""
}
