package persist

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/internal/vfs/vfstest"
)

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
	whole := vfs.WholePages(value)
	evict(t, r)
	all := len(whole) / os.Getpagesize()
	if n := vfstest.PagesInMemory(t, whole); n > all/10 {
		t.Skipf("%d of %d pages can't be put out of memory: the temporary directory has no disk", n, all)
	}
	var qs []Query
	for _, k := range keys {
		q := k.query()
		q.Run = r
		qs = append(qs, q)
	}
	readBlocks(qs)
	for end := time.Now().Add(10 * time.Second); vfstest.PagesInMemory(t, whole) < all; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d pages came", vfstest.PagesInMemory(t, whole), all)
		}
	}
}

// evict puts a run that was synced out of memory, as far as the file system has a disk.
func evict(t testing.TB, r *Run) {
	t.Helper()
	for _, p := range r.values {
		vfs.UnmapPages(p)
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
					if err := unix.Madvise(vfs.WholePages(p), unix.MADV_NORMAL); err != nil {
						b.Fatal(err)
					}
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
