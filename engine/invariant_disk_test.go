package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist"
)

// segmentDirs counts the segments on disk.
func segmentDirs(dir string) (int, error) {
	ids, err := persist.ListSegmentDirs(dir)
	return len(ids), err
}

// closedDir makes a directory with runs in several generations and closes it.
func closedDir(t *testing.T, o config, clock *fakeClock) (dir string, keys [][]byte) {
	t.Helper()
	dir = t.TempDir()
	e := mustOpen(t, dir, o)
	for i := range 3 {
		part := intKeys(3000*i, 3000)
		for k := range 500 { // variable forms too
			part = append(part, fmt.Appendf(nil, "order/%d/%d", i, k))
		}
		admitAll(t, e, part, dedup.Fresh)
		flushAll(t, e)
		keys = append(keys, part...)
		clock.advance(e.opts.span())
	}
	admitAll(t, e, intKeys(100_000, 10), dedup.Fresh) // begins a generation
	mustClose(t, e)
	return dir, append(keys, intKeys(100_000, 10)...)
}

// valueLogs returns Badger's files that hold the keys.
func valueLogs(t *testing.T, dir string) (files []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "seg-*", "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if size, err := vfs.DiskBytes(f); err == nil && size > 16<<10 {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		t.Fatal("no value log holds anything: the test shows nothing")
	}
	return files
}

func flip(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// usedBytes is how far a sparse file is written.
func usedBytes(t *testing.T, file string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := len(data)
	for n > 0 && data[n-1] == 0 {
		n--
	}
	return n
}

// TestI5DamagedRun: with a byte of a run flipped in Badger's value log, opening or
// the look-up that meets it says ErrCorrupt; every answer that is given is right,
// and with OnGap Report doubt is told as Unknown.
func TestI5DamagedRun(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(clock)
	dir, keys := closedDir(t, o, clock)
	rng := rand.New(rand.NewPCG(1, 9))
	found := 0
	for round := range 16 {
		broken := copyDir(t, dir)
		files := valueLogs(t, broken)
		file := files[round%len(files)]
		at := 20 + rng.Int64N(int64(usedBytes(t, file))-20)
		flip(t, file, at)
		o := o
		if round%2 == 1 {
			o.OnGap = Report
		}
		if damaged(t, broken, o, keys) {
			found++
		} else {
			t.Logf("byte %d of %s: nothing was lost", at, filepath.Base(filepath.Dir(file)))
		}
	}
	if found < 8 {
		t.Errorf("only %d of 16 flips were noticed at all", found)
	}
}

// damaged opens a damaged directory and asks for all keys, which were marked. It
// reports whether the damage was told.
func damaged(t *testing.T, dir string, o config, keys [][]byte) (told bool) {
	t.Helper()
	e, err := openWith(dir, o)
	if err != nil {
		if !errors.Is(err, dedup.ErrCorrupt) {
			t.Errorf("opening: %v, want ErrCorrupt", err)
		}
		return true
	}
	defer func() { _ = e.Close() }()
	for part := range slices.Chunk(keys, 100) {
		vs, err := e.AdmitBatch(ctx, nil, part)
		if err != nil {
			told = true
			if !errors.Is(err, dedup.ErrCorrupt) {
				t.Errorf("admitting: %v, want ErrCorrupt", err)
			}
			var c *dedup.CorruptError
			if !errors.As(err, &c) || c.File == "" {
				t.Errorf("%v names no file", err)
			}
		}
		for i, v := range vs {
			switch {
			case v == dedup.Fresh:
				t.Fatalf("key %q was marked and is called Fresh", part[i])
			case v == dedup.Unknown && err == nil && o.OnGap != Report:
				t.Fatalf("key %q is Unknown without an error", part[i])
			case v == dedup.Unknown:
				told = true
			}
		}
	}
	return told
}

// TestI5MissingFile: without a file that must be there a directory is not opened
// and not made anew.
func TestI5MissingFile(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(clock)
	dir, keys := closedDir(t, o, clock)
	segs, err := filepath.Glob(filepath.Join(dir, "seg-*"))
	if err != nil || len(segs) < 3 {
		t.Fatalf("segments %v, %v", segs, err)
	}
	names := []string{persist.ManifestName, persist.IdentityName, persist.JournalName, filepath.Base(segs[0])}
	for _, name := range names {
		t.Run("missing "+name, func(t *testing.T) {
			broken := copyDir(t, dir)
			if err := os.RemoveAll(filepath.Join(broken, name)); err != nil {
				t.Fatal(err)
			}
			wantCorrupt(t, broken, o)
			wantCorrupt(t, broken, o) // trying did not make it anew
		})
	}
	for _, name := range names[:3] {
		t.Run("damaged "+name, func(t *testing.T) {
			broken := copyDir(t, dir)
			file := filepath.Join(broken, name)
			size := int64(usedBytes(t, file))
			// The journal keeps its header twice and frames that nobody needs any
			// more, so one flip there may be harmless, but never wrong.
			for _, at := range []int64{0, size / 2, size - 1} {
				again := copyDir(t, broken)
				flip(t, filepath.Join(again, name), at)
				if name == persist.JournalName {
					damaged(t, again, o, keys)
				} else {
					wantCorrupt(t, again, o)
				}
			}
			if err := os.Truncate(file, size/2); err != nil {
				t.Fatal(err)
			}
			wantCorrupt(t, broken, o)
		})
	}
	// The filters are a cache in Exact mode.
	snaps, _ := filepath.Glob(filepath.Join(dir, "*snap*"))
	more, _ := filepath.Glob(filepath.Join(dir, "*filter*"))
	for _, s := range append(snaps, more...) {
		broken := copyDir(t, dir)
		if err := os.RemoveAll(filepath.Join(broken, filepath.Base(s))); err != nil {
			t.Fatal(err)
		}
		e := mustOpen(t, broken, o)
		admitAll(t, e, keys, dedup.Duplicate)
		mustClose(t, e)
	}
}

// TestI5ManifestDecides: a run that the manifest promises and the store doesn't
// have, or has otherwise, is damage, though the store itself is sound.
func TestI5ManifestDecides(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(clock)
	dir, _ := closedDir(t, o, clock)
	for name, change := range map[string]func(r *persist.RunMeta){
		"another run":    func(r *persist.RunMeta) { r.ID += 1000 },
		"more values":    func(r *persist.RunMeta) { r.Values = append(r.Values, r.Values[0]) },
		"longer value":   func(r *persist.RunMeta) { r.Values[0].Bytes++ },
		"other index":    func(r *persist.RunMeta) { r.Index.CRC++ },
		"more blocks":    func(r *persist.RunMeta) { r.Blocks++ },
		"no such blocks": func(r *persist.RunMeta) { r.Blocks = 0 },
	} {
		broken := copyDir(t, dir)
		m, err := persist.ReadManifest(vfs.OS(), broken)
		if err != nil {
			t.Fatal(err)
		}
		change(&m.Generations[1].Segments[0].Runs[0])
		if err := persist.WriteManifest(vfs.OS(), broken, m); err != nil {
			t.Fatal(err)
		}
		e, err := openWith(broken, o)
		if err == nil {
			_ = e.Close()
		}
		if !errors.Is(err, dedup.ErrCorrupt) {
			t.Errorf("%s: opening: %v, want ErrCorrupt", name, err)
		}
	}
}

func wantCorrupt(t *testing.T, dir string, o config) {
	t.Helper()
	e, err := openWith(dir, o)
	if err == nil {
		_ = e.Close()
	}
	var c *dedup.CorruptError
	if !errors.Is(err, dedup.ErrCorrupt) || !errors.As(err, &c) || c.File == "" {
		t.Errorf("opening: %v, want a CorruptError with a file", err)
	}
}
