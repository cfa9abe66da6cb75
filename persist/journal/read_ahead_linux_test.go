package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/internal/vfs/vfstest"
)

// TestRingIsBroughtIn: what comes next of the ring is in memory before it is written, also
// where it was put out of it and at the ring's end. A few pages may be missing, since
// advice is all that the kernel gets: of some 2,000 rounds one lacked nine of 2,048, another five.
func TestRingIsBroughtIn(t *testing.T) {
	const ring = 12 << 20
	path := filepath.Join(t.TempDir(), "journal")
	j, err := Open(Config{Path: path, RingBytes: ring, Sync: SyncNone})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close(false) }()
	if _, err := j.Replay(0, func(*Frame) error { return nil }); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	payload := make([]byte, 1_000_000)
	for end := Pos(0); end < 3*ring; {
		if err := errors.Join(j.Sync(), unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)); err != nil {
			t.Fatal(err)
		}
		if n, all := vfstest.PagesInMemory(t, j.mapped), len(j.mapped)/os.Getpagesize(); n > all/10 {
			t.Skipf("%d of %d pages can't be put out of memory: the temporary directory has no disk", n, all)
		}
		j.readAhead.asked.Store(0) // it was there, as far as the journal knows
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
			j.eachPiece(end+1<<20, end+readAheadBytes, func(p []byte) {
				p = vfs.WholePages(p)
				n += len(p)/os.Getpagesize() - vfstest.PagesInMemory(t, p)
			})
			return n
		}
		for late := time.Now().Add(10 * time.Second); j.readAhead.asked.Load() < end+readAheadBytes || missing() > 40; <-time.After(time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("at %d %d pages are not in memory", end, missing())
			}
		}
	}
}
