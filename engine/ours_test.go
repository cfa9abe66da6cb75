package engine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
)

// TestForeignDirectory: a directory that is neither empty nor ours is refused, and
// nothing in it is touched.
func TestForeignDirectory(t *testing.T) {
	o := Options{Window: time.Hour, MinFreeDisk: -1}
	if _, err := Open("", o); err == nil {
		t.Error("a directory without a name was opened")
	}
	for _, names := range [][]string{
		{"letter.txt"}, {"draft.tmp"}, {"a.tmp", "b.tmp", "sub/"}, {"journal.tmp"}, {"LOCK", "photo.jpg"}, {"sub/"}, {".hidden"},
		{"CREATING"}, {"CREATING", "IDENTITY", "MANIFEST", "journal"}, {"IDENTITY"}, {"MANIFEST", "KEYREGISTRY"}, {"journal"}, {"seg-00000001/"},
	} {
		dir := t.TempDir()
		for _, name := range names {
			path := filepath.Join(dir, name)
			if name[len(name)-1] == '/' {
				path = filepath.Join(path, "inside.tmp")
			}
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("somebody's\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := dirState(t, dir)
		_, err := Open(dir, o)
		if !errors.Is(err, dedup.ErrIncompatible) && !errors.Is(err, dedup.ErrCorrupt) {
			t.Errorf("%q: %v", names, err)
		}
		if after := dirState(t, dir); after != before {
			t.Errorf("%q was touched:\n%s\n%s", names, before, after)
		}
	}
}

// TestForeignFiles: what others put into a directory of ours stays there.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	o := Options{Window: time.Hour, MinFreeDisk: -1}
	mustClose(t, mustOpen(t, dir, config{Options: o}))
	theirs := []string{"draft.tmp", "filter-1.snap.tmp", "filter-0000000x.snap", "seg-1", "journal.old", "MANIFEST.bak", "x.snap.tmp"}
	ours := []string{"MANIFEST.tmp", "IDENTITY.tmp", "journal.tmp", "filter-00000009.snap.tmp"}
	for _, name := range append(theirs, ours...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, mustOpen(t, dir, config{Options: o}))
	for _, name := range theirs {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range ours {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is left over", name)
		}
	}
}

// TestLockDeleted: who deletes the file LOCK of an open directory lets nobody else in.
func TestLockDeleted(t *testing.T) {
	dir := t.TempDir()
	o := Options{Window: time.Hour, MinFreeDisk: -1}
	e := mustOpen(t, dir, config{Options: o})
	for range 2 {
		if err := os.Remove(filepath.Join(dir, persist.LockName)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, o); !errors.Is(err, dedup.ErrLocked) {
			t.Fatalf("a second engine: %v", err)
		}
		admitAll(t, e, [][]byte{[]byte("k")}, map[bool]dedup.Verdict{true: dedup.Fresh, false: dedup.Duplicate}[e.Stats().Verdicts.Fresh == 0])
	}
	mustClose(t, e)
	admitAll(t, mustOpen(t, dir, config{Options: o}), [][]byte{[]byte("k")}, dedup.Duplicate)
}
