package persist

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/firstseen/firstseen/internal/vfs"
)

func TestSnapshotFiles(t *testing.T) {
	dir, fsys := t.TempDir(), vfs.OS()
	content := bytes.Repeat([]byte("snapshot"), 100_000)
	write := func(gen uint64, p []byte) {
		t.Helper()
		err := WriteSnapshot(fsys, dir, gen, func(w io.Writer) error { _, err := w.Write(p); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(gen uint64, want []byte) {
		t.Helper()
		f, err := OpenSnapshotFile(fsys, dir, gen)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("snapshot %d has %d bytes, %d expected: %v", gen, len(got), len(want), err)
		}
	}
	for _, gen := range []uint64{7, 123_456_789_012, 1} {
		write(gen, content[:gen%1000])
	}
	write(7, content)
	write(7, content[:100]) // shorter than before
	check(7, content[:100])
	check(1, content[:1])

	// What is not ours is not listed.
	for _, name := range []string{"filter-7.snap", "filter-+0000007.snap", "filter-00000008.snap.tmp", "filter-00000009", "filter-000000010.snap"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(SnapshotPath(dir, 11), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := ListSnapshots(fsys, dir)
	if err != nil || !slices.Equal(got, []uint64{1, 7, 123_456_789_012}) {
		t.Errorf("list: %v, %v", got, err)
	}

	// A writer that fails leaves the old one, and nothing else.
	boom := errors.New("boom")
	if err := WriteSnapshot(fsys, dir, 1, func(w io.Writer) error { _, _ = w.Write(content); return boom }); !errors.Is(err, boom) {
		t.Errorf("failing writer: %v", err)
	}
	check(1, content[:1])
	if _, err := os.Stat(SnapshotPath(dir, 1) + vfs.TmpSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("leftover: %v", err)
	}
	for range 2 {
		if err := RemoveSnapshot(fsys, dir, 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenSnapshotFile(fsys, dir, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
}
