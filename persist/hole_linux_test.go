package persist

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

// TestFillHole: what is filled is a hole no more, and nothing else changes.
func TestFillHole(t *testing.T) {
	const size, from, to = 8 << 20, 1<<20 + 100, 6 << 20
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := make([]byte, size)
	source := rand.NewChaCha8([32]byte{3})
	for _, part := range [][]byte{want[:from], want[to : to+1000]} {
		_, _ = source.Read(part)
	}
	if _, err := f.WriteAt(want[:from], 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(want[to:to+1000], to); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), vfs.FillHole(f, from, to)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, size)
	if _, err := f.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what the file holds has changed")
	}
	if at, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE); err != nil || at < to {
		t.Errorf("the first hole is at %d, %v; want none before %d", at, err, to)
	}
}

// TestPutFillsHole: Badger writes where a hole was filled, and nowhere behind, in a new
// store and in one that was opened again; what was put before stays. A huge page is
// filled as a whole where all of it will be needed before the next sync.
func TestPutFillsHole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, err := createStore(dir, 64<<20, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	source := rand.NewChaCha8([32]byte{4})
	var values [][]byte
	ahead := 0 // how often more was filled than was needed yet
	put := func() {
		t.Helper()
		n := 1 + rng.IntN(1<<rng.IntN(21))
		p := make([]byte, n)
		_, _ = source.Read(p)
		more, full := rng.Int64N(4<<20), s.hole.full
		if err := s.put(valueKey(1, uint32(len(values))), p, more); err != nil {
			t.Fatal(err)
		}
		values = append(values, p)
		if s.hole.off || s.hole.full < s.hole.end+holeGuard {
			t.Fatalf("filled up to %d of %d", s.hole.full, s.hole.end)
		}
		switch h := &s.hole; {
		case h.full-h.end <= holeGuard+fillStep: // from before, too
		case h.full%vfs.HugePage != 0 || h.full != full && h.full > h.end+more:
			t.Fatalf("filled up to %d of %d, %d bytes follow", h.full, h.end, more)
		default:
			ahead++
		}
		if at, err := unix.Seek(int(s.hole.f.Fd()), s.hole.full, unix.SEEK_DATA); !errors.Is(err, unix.ENXIO) {
			t.Fatalf("after %d values something was written at %d, %v, behind %d", len(values), at, err, s.hole.full)
		}
	}
	for range 2 {
		for range 60 {
			put()
		}
		for i, want := range values {
			got, err := s.get(valueKey(1, uint32(i)))
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("value %d of %d bytes: %d bytes, %v", i, len(want), len(got), err)
			}
		}
		if err := errors.Join(s.sync(), s.close()); err != nil {
			t.Fatal(err)
		}
		if s, err = openStore(dir, 64<<20, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	if ahead == 0 {
		t.Error("no huge page was filled")
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// TestPutNoRoom: a value for which the disk has no room is not written, which the run's
// error says; with room it is.
func TestPutNoRoom(t *testing.T) {
	keys := makeKeys(0, 100_000, 1)
	for _, before := range []int{0, 1} { // runs
		s := newTestSegment(t)
		for id := range before {
			writeRun(t, s, RunSpec{ID: uint64(id)}, keys)
		}
		full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		log, rest := s.store.hole.f, s.Room()
		s.store.hole.f = full
		w := s.NewRun(RunSpec{ID: 2, MaxKeys: uint64(len(keys))})
		addAll(w, keys)
		if _, err := w.Finish(); !errors.Is(err, dedup.ErrDiskFull) || errors.Is(err, dedup.ErrFailed) {
			t.Errorf("after %d runs a full disk gives %v", before, err)
		}
		if s.Room() != rest {
			t.Errorf("after %d runs there is room for %d bytes, %d before", before, s.Room(), rest)
		}
		if err := errors.Join(s.Sync(), full.Close()); err != nil {
			t.Error(err)
		}
		s.store.hole.f = log
		r := writeRun(t, s, RunSpec{ID: 3}, keys)
		if err := r.Verify(); err != nil {
			t.Error(err)
		}
		if s.store.hole.off || s.store.hole.full <= vlogHeader {
			t.Errorf("after %d runs and a full disk nothing is filled any more", before)
		}
	}
}

// TestHoleGuard: where something was written that a store does not know of nothing is
// filled any more, and it works all the same.
func TestHoleGuard(t *testing.T) {
	s := newTestSegment(t)
	keys := makeKeys(0, 100_000, 1)
	writeRun(t, s, RunSpec{ID: 1}, keys)
	h := &s.store.hole
	if _, err := h.f.WriteAt([]byte{1}, h.full-1); err != nil {
		t.Fatal(err)
	}
	full := h.full
	r := writeRun(t, s, RunSpec{ID: 2}, keys)
	if err := r.Verify(); err != nil {
		t.Error(err)
	}
	if h.full != full || !h.off {
		t.Errorf("filled up to %d, %d before", h.full, full)
	}
}

// TestStartSync: what was put goes to the disk before the sync, each part once; what is
// put meanwhile, and after it, is as it was. A closed segment has nothing to write.
func TestStartSync(t *testing.T) {
	s := newSegmentOf(t, 64<<20)
	s.StartSync() // nothing yet
	var runs []*Run
	h := &s.store.hole
	for id := range uint64(3) {
		runs = append(runs, writeRun(t, s, RunSpec{ID: id}, makeKeys(0, 200_000, id)))
		if s.StartSync(); h.sent != h.end/vfs.HugePage*vfs.HugePage || h.sent == 0 {
			t.Fatalf("run %d: told to write up to %d of %d", id, h.sent, h.end)
		}
	}
	if err := unix.SyncFileRange(int(h.f.Fd()), 0, h.sent, unix.SYNC_FILE_RANGE_WAIT_BEFORE); err != nil { // waits for what is on its way
		t.Fatal(err)
	}
	// The kernel passes over single pages that it is just writing by itself.
	if dirty, all := dirtyPages(t, h.f, h.sent), uint64(h.sent)/uint64(os.Getpagesize()); dirty > all/100 {
		t.Fatalf("%d of %d pages still wait to be written", dirty, all)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		if err := r.Verify(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.StartSync()
}

// dirtyPages returns how many of a file's first n bytes' pages wait to be written; 0
// where the kernel doesn't tell (before 6.5).
func dirtyPages(t *testing.T, f *os.File, n int64) uint64 {
	t.Helper()
	var stat unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Len: uint64(n)}, &stat, 0)
	if err != nil && !errors.Is(err, unix.ENOSYS) {
		t.Fatal(err)
	}
	return stat.Dirty
}
