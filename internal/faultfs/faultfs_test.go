package faultfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/firstseen/firstseen/internal/vfs"
)

func open(t *testing.T, f *FS, name string, flag int) vfs.File {
	t.Helper()
	h, err := f.OpenFile(name, flag, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func write(t *testing.T, h vfs.File, off int64, p []byte) {
	t.Helper()
	if _, err := h.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content returns the file's bytes, nil when there is no such file.
func content(f *FS, name string) []byte {
	b, err := vfs.ReadFile(f, name)
	if err != nil {
		return nil
	}
	return b
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	f := New()
	h := open(t, f, "a", os.O_CREATE)
	first, second := bytes.Repeat([]byte{1}, 3*pageLen), bytes.Repeat([]byte{2}, pageLen)
	write(t, h, 0, first)
	ok(t, h.Sync())
	if content(f.Crash(0, 1), "a") != nil {
		t.Error("a file whose directory was not synced survived a cut that keeps nothing")
	}
	ok(t, f.SyncDir("."))
	write(t, h, pageLen, second)
	mixed := append(append(bytes.Clone(first[:pageLen]), second...), first[:pageLen]...)
	f2 := f.Crash(0, 1)
	for percent, want := range map[int][]byte{0: first, 100: mixed} {
		if got := content(f.Crash(percent, 1), "a"); !bytes.Equal(got, want) {
			t.Errorf("%d %%: %d bytes that differ", percent, len(got))
		}
	}
	if !bytes.Equal(content(f, "a"), mixed) || !bytes.Equal(content(f2.Crash(0, 1), "a"), first) {
		t.Error("a crash changed the original, or did not stay")
	}
	// In parts: a file that grew by two pages of which the second survives.
	write(t, h, 3*pageLen, second)
	write(t, h, 4*pageLen, second[:10])
	got := content(f.CrashFunc(func(_ string, page int64) bool { return page == 4 }), "a")
	want := append(append(bytes.Clone(first), make([]byte, pageLen)...), second[:10]...)
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes after a partial crash, want %d", len(got), len(want))
	}
}

func TestCrashDirectories(t *testing.T) {
	f := New()
	ok(t, f.MkdirAll("d/e", 0o755))
	write(t, open(t, f, "d/e/x", os.O_CREATE), 0, []byte("x"))
	ok(t, f.SyncDir("d/e"))
	if _, err := f.Crash(0, 1).Stat("d/e/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file in a directory that is gone: %v", err)
	}
	ok(t, f.SyncDir("d"))
	ok(t, f.SyncDir("."))
	ok(t, f.Rename("d/e/x", "d/e/y"))
	names := func(f *FS) string {
		entries, err := f.ReadDir("d/e")
		ok(t, err)
		return fmt.Sprint(entries)
	}
	if before, after := names(f.Crash(0, 1)), names(f.Crash(100, 1)); before != "[- x]" || after != "[- y]" {
		t.Errorf("unsynced rename: %s or %s", before, after)
	}
	ok(t, f.SyncDir("d/e"))
	ok(t, f.Remove("d/e/y"))
	if before, after := names(f.Crash(0, 1)), names(f.Crash(100, 1)); before != "[- y]" || after != "[]" {
		t.Errorf("unsynced removal: %s or %s", before, after)
	}
}

func TestFailAt(t *testing.T) {
	f, boom := New(), errors.New("boom")
	h := open(t, f, "a", os.O_CREATE)
	ok(t, f.SyncDir("."))
	f.FailAt(2, boom, false)
	write(t, h, 0, []byte("abcd"))
	if n, err := h.WriteAt([]byte("efgh"), 4); n != 2 || !errors.Is(err, boom) {
		t.Errorf("failed write: %d, %v", n, err)
	}
	if got := content(f, "a"); string(got) != "abcdef" {
		t.Errorf("%q after a write that failed half-way", got)
	}
	f.FailAt(1, boom, false)
	if err := h.Sync(); !errors.Is(err, boom) {
		t.Error(err)
	}
	ok(t, h.Sync()) // proves nothing
	if got := content(f.Crash(0, 1), "a"); bytes.Contains(got, []byte("a")) {
		t.Errorf("%q: a sync after a failed one saved its pages", got)
	}
	write(t, h, 0, []byte("A"))
	ok(t, h.Sync())
	if got := content(f.Crash(0, 1), "a"); string(got) != "Abcdef" {
		t.Errorf("%q after a page was written anew and synced", got)
	}
	f.FailAt(1, boom, true)
	for range 3 {
		if err := f.Rename("a", "b"); !errors.Is(err, boom) {
			t.Error(err)
		}
	}
	f.FailAt(0, nil, false)
	ok(t, f.Rename("a", "b"))
	if last := f.Trace()[f.Ops()-1]; last.Kind != "rename" || last.Name != "b" {
		t.Errorf("%+v", last)
	}
}

// TestWriteFileAtomic cuts the power and fails at every operation: a reader finds
// the old content or the new, and the new when the call succeeded.
func TestWriteFileAtomic(t *testing.T) {
	oldData, newData := bytes.Repeat([]byte("old"), 3000), bytes.Repeat([]byte("new!"), 4000)
	failed := 0
	for n := int64(1); ; n++ {
		f := New()
		ok(t, f.MkdirAll("d", 0o755))
		ok(t, f.SyncDir("."))
		ok(t, vfs.WriteFileAtomic(f, "d/m", oldData))
		f.FailAt(n, errors.New("boom"), n%2 == 0)
		err := vfs.WriteFileAtomic(f, "d/m", newData)
		f.FailAt(0, nil, false)
		for percent := 0; percent <= 100; percent += 25 {
			for seed := range uint64(10) {
				after := f.Crash(percent, seed)
				got := content(after, "d/m")
				if !bytes.Equal(got, newData) && (err == nil || !bytes.Equal(got, oldData)) {
					t.Fatalf("operation %d, %d %%: %d bytes, the call gave %v", n, percent, len(got), err)
				}
				ok(t, vfs.RemoveLeftovers(after, "d", func(name string) bool { return name == "m" }))
				if entries, _ := after.ReadDir("d"); len(entries) != 1 {
					t.Fatalf("left: %v", entries)
				}
			}
		}
		if err == nil {
			break
		}
		failed++
	}
	if failed != 5 { // create, write, sync, rename, syncdir
		t.Errorf("%d operations failed, expected create, write, sync, rename and syncdir", failed)
	}
}

func TestDelay(t *testing.T) {
	f := New()
	h := open(t, f, "a", os.O_CREATE)
	entered, release := make(chan Op), make(chan struct{})
	f.Delay(func(op Op) { entered <- op; <-release })
	done := make(chan error)
	go func() { done <- h.Sync() }()
	if op := <-entered; op.Kind != "sync" {
		t.Errorf("%+v", op)
	}
	if f.Ops() != 1 {
		t.Error("the sync ran before it was let go")
	}
	close(release)
	ok(t, <-done)
}
