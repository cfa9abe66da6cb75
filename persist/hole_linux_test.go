package persist

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// newHole returns a file of so many bytes, all of them a hole.
func newHole(t *testing.T, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if at, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE); at != 0 || err != nil {
		t.Skipf("the temporary directory's file system knows no holes: %d, %v", at, err)
	}
	return f
}

// TestFillHoles: what was written stays, all between it is filled, and nothing else.
func TestFillHoles(t *testing.T) {
	const size, from, to = 8 << 20, 1 << 20, 6 << 20
	f := newHole(t, size)
	want := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{3})
	for _, island := range []struct{ at, n int }{{0, 5000}, {1<<20 + 100, 8000}, {3 << 20, 1 << 20}, {6<<20 - 10, 20}} {
		p := want[island.at : island.at+island.n]
		_, _ = rng.Read(p)
		if _, err := f.WriteAt(p, int64(island.at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := fillHoles(f, from, to); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, size)
	if _, err := f.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what was written has changed")
	}
	for _, c := range []struct{ from, least, most int64 }{
		{0, 1, 64 << 10},      // before from
		{from, to, size},      // to its end
		{7 << 20, 0, 7 << 20}, // behind to
	} {
		if at, err := unix.Seek(int(f.Fd()), c.from, unix.SEEK_HOLE); err != nil || at < c.least || at > c.most {
			t.Errorf("from %d on the first hole is at %d, %v; want it at %d to %d", c.from, at, err, c.least, c.most)
		}
	}
}

// TestPutFillsHole: Badger writes where a hole was filled, and nowhere behind, in a new
// store and in one that was opened again; what was put before stays.
func TestPutFillsHole(t *testing.T) {
	newHole(t, 1<<20)
	dir := filepath.Join(t.TempDir(), "store")
	s, err := createStore(dir, 64<<20, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	source := rand.NewChaCha8([32]byte{4})
	var values [][]byte
	put := func() {
		t.Helper()
		n := 1 + rng.IntN(1<<rng.IntN(21))
		p := make([]byte, n)
		_, _ = source.Read(p)
		if err := s.put(valueKey(1, uint32(len(values))), p); err != nil {
			t.Fatal(err)
		}
		values = append(values, p)
		if s.hole.f == nil || s.hole.full < s.hole.end {
			t.Fatalf("filled up to %d of %d", s.hole.full, s.hole.end)
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
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// TestPutNoRoom: where the disk has no room for a value nothing is written, and the error
// says so; with room it is put.
func TestPutNoRoom(t *testing.T) {
	newHole(t, 1<<20)
	s := newTestSegment(t)
	store := s.store
	readOnly, err := os.Open(store.hole.f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	value := bytes.Repeat([]byte("value"), 100_000)
	writable, rest := store.hole.f, s.Room()
	store.hole.f = readOnly
	err = store.put(valueKey(1, 1), value)
	if !errors.Is(err, errNotPut) || !errors.Is(err, unix.EBADF) {
		t.Errorf("put gave %v, want the error of the write", err)
	}
	if s.Room() != rest {
		t.Errorf("room for %d bytes, %d before", s.Room(), rest)
	}
	if _, err := store.get(valueKey(1, 1)); !errors.Is(err, errMissing) {
		t.Errorf("the value is there: %v", err)
	}
	store.hole.f = writable
	if err := store.put(valueKey(1, 1), value); err != nil {
		t.Fatal(err)
	}
	if got, err := store.get(valueKey(1, 1)); err != nil || !bytes.Equal(got, value) {
		t.Error(fmt.Errorf("the value is not there: %w", err))
	}
}
