package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine/inspect"
	"github.com/firstseen/firstseen/persist"
)

func snapshotFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "filter-*.snap"))
	if err != nil || len(files) == 0 {
		t.Fatalf("snapshots: %v, %v", files, err)
	}
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	return names
}

// breakFile removes a file or flips a byte in its middle.
func breakFile(t *testing.T, dir, name string, remove bool) {
	t.Helper()
	path := filepath.Join(dir, name)
	if remove {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		return
	}
	// More in a row than the header and the key that Badger writes in front of a
	// value: damage to those alone changes no answer.
	used := int64(usedBytes(t, path))
	for at := used / 2; at < min(used, used/2+64); at++ {
		flip(t, path, at)
	}
}

// TestInspect: what it tells is what the engine knew when it closed, and looking
// changes nothing.
func TestInspect(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(clock)
	dir, keys := closedDir(t, o, clock)
	before := dirState(t, dir)
	got, err := inspect.Inspect(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	if after := dirState(t, dir); after != before {
		t.Errorf("looking changed the directory:\n%s\n%s", before, after)
	}
	if got.Keys != uint64(len(keys)) || got.JournalKeys != 10 || !got.Clean || got.Shards != o.Shards || got.Mode != "exact" ||
		got.Window != o.Window || len(got.Generations) != 4 || got.Bytes <= 0 || got.UntrustedKeys || got.Created.IsZero() || got.FormatVersion == 0 {
		t.Errorf("%+v", got)
	}
	for i, g := range got.Generations {
		live := i == len(got.Generations)-1
		if g.End.IsZero() != live || !live && (g.Keys != 3500 || g.Runs == 0 || g.Bytes < 16*3000) || !g.Snapshot || g.Fill <= 0 && !live {
			t.Errorf("generation %d: %+v", i, g)
		}
	}
	if span := o.Window / 4; got.Held < 3*span || got.Held > 4*span || got.Span != span {
		t.Errorf("held %v, span %v", got.Held, got.Span)
	}
	// After a kill it is not clean, and the journal's keys are counted.
	e := mustOpen(t, dir, o)
	admitAll(t, e, intKeys(500_000, 100), dedup.Fresh)
	e.crash(t)
	if got, err = inspect.Inspect(ctx, dir); err != nil || got.Clean || got.JournalKeys != 110 {
		t.Errorf("after a crash: %+v, %v", got, err)
	}
}

// dirState lists the files with their sizes.
func dirState(t *testing.T, dir string) (state string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			state += path + " " + info.ModTime().String() + "\n"
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestInspectNothing(t *testing.T) {
	empty := t.TempDir()
	for _, dir := range []string{empty, filepath.Join(empty, "none")} {
		if _, err := inspect.Inspect(ctx, dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("inspect %s: %v", dir, err)
		}
		if _, err := inspect.Verify(ctx, dir, nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("verify %s: %v", dir, err)
		}
	}
	if names, err := os.ReadDir(empty); err != nil || len(names) != 0 {
		t.Errorf("looking made %v, %v", names, err)
	}
}

// TestVerify: nothing is found in a sound directory, and every kind of damage is
// found, named and told fatal or not.
func TestVerify(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(clock)
	dir, keys := closedDir(t, o, clock)
	progress := [2]int64{}
	got, err := inspect.Verify(ctx, dir, func(done, total int64) {
		if done < progress[0] || total <= 0 {
			t.Errorf("progress %d of %d after %d", done, total, progress[0])
		}
		progress = [2]int64{done, total}
	})
	if err != nil || len(got.Damages) != 0 || got.Keys != uint64(len(keys)-10) || got.Runs == 0 || got.Files < 7 || progress[1] == 0 {
		t.Fatalf("a sound directory: %+v, %v", got, err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := inspect.Verify(over, dir, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	segment := "seg-00000001"
	logs := valueLogs(t, dir)
	rel, _ := filepath.Rel(dir, logs[0])
	for _, c := range []struct {
		file   string
		remove bool
		fatal  bool
	}{
		{persist.ManifestName, true, true}, {persist.ManifestName, false, true},
		{persist.IdentityName, true, true}, {persist.IdentityName, false, true},
		{persist.JournalName, true, true}, {segment, true, true}, {rel, false, true},
		{snapshotFiles(t, dir)[0], false, false},
	} {
		broken := copyDir(t, dir)
		breakFile(t, broken, c.file, c.remove)
		got, err := inspect.Verify(ctx, broken, nil)
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		fatal := false
		for _, d := range got.Damages {
			fatal = fatal || d.Fatal
			if d.File == "" || d.Detail == "" {
				t.Errorf("%s: %+v", c.file, d)
			}
		}
		if len(got.Damages) == 0 || fatal != c.fatal {
			t.Errorf("%s (removed: %v): %+v, fatal should be %v", c.file, c.remove, got.Damages, c.fatal)
		}
		// Verify and Open agree.
		e, err := openWith(broken, o)
		if err == nil {
			_ = e.Close()
		}
		if c.fatal && c.file != rel && !errors.Is(err, dedup.ErrCorrupt) || !c.fatal && err != nil {
			t.Errorf("%s: opening says %v", c.file, err)
		}
	}
}

// TestVerifyProgress: progress is told the bytes of runs, checked and in all, and
// comes to its end.
func TestVerifyProgress(t *testing.T) {
	clock := newFakeClock()
	dir, _ := closedDir(t, testOptions(clock), clock)
	last, all := int64(0), int64(0)
	if _, err := inspect.Verify(ctx, dir, func(done, total int64) { last, all = max(last, done), total }); err != nil {
		t.Fatal(err)
	}
	if last != all {
		t.Errorf("%d of %d bytes at the end", last, all)
	}
}
