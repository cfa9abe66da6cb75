package persist

import (
	"bufio"
	"context"
	"errors"
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
	adviseRandom(address(p), address(p)+size)
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

// TestRingIsBroughtIn: what comes next of the ring is in memory before it is written, also
// where it was put out of it and at the ring's end. A few pages may be missing, since
// advice is all that the kernel gets: of some 2,000 rounds one lacked nine of 2,048, another five.
func TestRingIsBroughtIn(t *testing.T) {
	const ring = 12 << 20
	j, err := OpenJournal(JournalConfig{Path: filepath.Join(t.TempDir(), "journal"), RingBytes: ring, Sync: SyncNone})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close(false) }()
	if _, err := j.Replay(0, func(*Frame) error { return nil }); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, 1_000_000)
	for end := Pos(0); end < 3*ring; {
		if err := errors.Join(j.Sync(), unix.Fadvise(int(j.file.(*osFile).f.Fd()), 0, 0, unix.FADV_DONTNEED)); err != nil {
			t.Fatal(err)
		}
		if n, all := pagesInMemory(t, j.mapped), len(j.mapped)/os.Getpagesize(); n > all/10 {
			t.Skipf("%d of %d pages can't be put out of memory: the temporary directory has no disk", n, all)
		}
		j.near.asked.Store(0) // it was there, as far as the journal knows
		if err := j.Reserve(context.Background(), FrameSpace(len(payload))); err != nil {
			t.Fatal(err)
		}
		if end, err = j.Append(&Frame{Kind: 1, Payload: payload}); err != nil {
			t.Fatal(err)
		}
		if err := j.Wait(end); err != nil {
			t.Fatal(err)
		}
		j.Release(end)
		missing := func() (n int) {
			// What is next to a write that nothing was there for stays in pieces that are not.
			j.eachPiece(end+1<<20, end+nearBytes, func(p []byte) {
				p = wholePages(p)
				n += len(p)/os.Getpagesize() - pagesInMemory(t, p)
			})
			return n
		}
		for late := time.Now().Add(10 * time.Second); j.near.asked.Load() < end+nearBytes || missing() > 40; <-time.After(time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("at %d %d pages are not in memory", end, missing())
			}
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

// TestRunAdvice: a run's map is read at random, also when it is opened again, and a cold
// look-up has all of its blocks read before it looks.
func TestRunAdvice(t *testing.T) {
	keys := makeKeys(0, 60_000, 1)
	s := newTestSegment(t)
	r := writeRun(t, s, RunSpec{ID: 1}, keys)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	isRandom := func(value []byte) {
		t.Helper()
		if flags := mapFlags(t, address(value)); !strings.Contains(flags, " rr") {
			t.Errorf("the map of a run has the flags%s, want rr among them", flags)
		}
	}
	isRandom(r.values[0])
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, runs, err := OpenSegment(s.config, SegmentMeta{ID: s.ID(), Runs: []RunMeta{r.Meta()}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r = runs[0]
	value := r.values[0]
	isRandom(value)
	whole := wholePages(value)
	evict(t, r)
	all := len(whole) / os.Getpagesize()
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

// evict puts a run that was synced out of memory, as far as the file system has a disk.
func evict(t testing.TB, r *Run) {
	t.Helper()
	for _, p := range r.values {
		unmapPages(p)
	}
	logs, err := filepath.Glob(filepath.Join(r.seg.path, "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range logs {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkConfirmCold asks a run of which nothing is in memory for 1,000 of its keys at
// a time: as a look-up that knows it does, as one that does not yet, and with the kernel
// reading ahead as it would by itself.
func BenchmarkConfirmCold(b *testing.B) {
	keys := makeKeys(0, 8_000_000, 1)
	s := newSegmentOf(b, 1<<30)
	r := writeRun(b, s, RunSpec{ID: 1}, keys)
	if err := s.Sync(); err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 3))
	qs := make([]Query, 1000)
	for _, how := range []string{"all at once", "one by one", "kernel"} {
		b.Run(how, func(b *testing.B) {
			if how == "kernel" {
				for _, p := range r.values {
					advise(p, unix.MADV_NORMAL)
				}
			}
			for range b.N {
				b.StopTimer()
				for i := range qs {
					qs[i] = keys[rng.IntN(len(keys))].query()
				}
				evict(b, r)
				l := Lookup{cold: how == "all at once"}
				b.StartTimer()
				if err := r.confirm(&l, qs); err != nil {
					b.Fatal(err)
				}
				for i := range qs {
					if !qs[i].Found {
						b.Fatal("a key is not found")
					}
				}
			}
			b.StopTimer()
			reportKeys(b, len(qs))
		})
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
