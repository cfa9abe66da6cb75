package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

var ctx = context.Background()

// long reports whether the forms with 20 million keys were asked for.
func long() bool { return os.Getenv("FIRSTSEEN_LONG") != "" }

// testOptions are those of a small engine that flushes often. Tests that want
// the real sizes set tableKeys and ringBytes to zero.
func testOptions(clock *fakeClock) config {
	o := config{Options: Options{
		Window:      8 * time.Hour,
		Generations: 5, // a span of 2 hours
		Capacity:    20_000,
		Shards:      4,
		MinFreeDisk: -1,
	}, hooks: hooks{
		tableKeys: 1000,
		ringBytes: 4 << 20,
	}}
	if clock != nil {
		o.Now = clock.now
	}
	return o
}

// mustOpen opens an engine that is closed at the end, if it still is open.
func mustOpen(t testing.TB, dir string, o config) *Engine {
	t.Helper()
	e, err := openWith(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func mustClose(t testing.TB, e *Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// intKey is the n-th of a test's keys: 16 bytes.
func intKey(n int) []byte { return intKeys(n, 1)[0] }

func intKeys(from, n int) [][]byte {
	buf := make([]byte, 16*n)
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = buf[16*i : 16*i+16 : 16*i+16]
		binary.LittleEndian.PutUint64(keys[i], uint64(from+i)*0x9e3779b97f4a7c15)
		binary.LittleEndian.PutUint64(keys[i][8:], uint64(from+i))
	}
	return keys
}

func mustAdmit(t testing.TB, e *Engine, keys ...[]byte) []dedup.Verdict {
	t.Helper()
	vs, err := e.AdmitBatch(ctx, nil, keys)
	if err != nil {
		t.Fatal(err)
	}
	return vs
}

// admitAll wants one and the same verdict for all keys.
func admitAll(t testing.TB, e *Engine, keys [][]byte, want dedup.Verdict) {
	t.Helper()
	for len(keys) > 0 {
		part := keys[:min(1000, len(keys))]
		keys = keys[len(part):]
		for i, v := range mustAdmit(t, e, part...) {
			if v != want {
				t.Fatalf("key %.40q: %v, want %v", part[i], v, want)
			}
		}
	}
}

func mustContain(t testing.TB, e *Engine, key []byte, want bool) {
	t.Helper()
	if got, err := e.Contains(ctx, key); err != nil || got != want {
		t.Fatalf("contains %.40q: %v, %v, want %v", key, got, err, want)
	}
}

func mustClaim(t testing.TB, e *Engine, key []byte, want dedup.Verdict) dedup.Claim {
	t.Helper()
	c, err := e.Claim(ctx, key)
	if err != nil || c.Verdict != want {
		t.Fatalf("claim %.40q: %v, %v, want %v", key, c.Verdict, err, want)
	}
	return c
}

// eventually waits for what the background does. It is the only place where a
// test looks again and again.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// receive waits for what must come soon, so that a test that would hang says why.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("still not: %s", what)
		panic("unreachable")
	}
}

// flushAll makes runs of all unflushed keys.
func flushAll(t testing.TB, e *Engine) {
	t.Helper()
	e.set.Seal(^uint64(0))
	eventually(t, "all tables are flushed", func() bool { return e.set.Sizes().Sealed == 0 || e.failure.Load() != nil })
}

// hookFS asks before each write and sync of the files, and each sync of the directories, whose name ends so.
type hookFS struct {
	vfs.FS
	suffix string
	hook   atomic.Pointer[func(op string) error]
}

func newHookFS(suffix string) *hookFS { return &hookFS{FS: vfs.OS(), suffix: suffix} }

func (h *hookFS) set(hook func(op string) error) { h.hook.Store(&hook) }

func (h *hookFS) ask(op, name string) error {
	if hook := h.hook.Load(); hook != nil && *hook != nil && strings.HasSuffix(name, h.suffix) {
		return (*hook)(op)
	}
	return nil
}

func (h *hookFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := h.FS.OpenFile(name, flag, perm)
	return &hookFile{f, h, name}, err
}

func (h *hookFS) Rename(oldName, newName string) error {
	if err := h.ask("rename", newName); err != nil {
		return err
	}
	return h.FS.Rename(oldName, newName)
}

func (h *hookFS) SyncDir(name string) error {
	if err := h.ask("sync directory", name); err != nil {
		return err
	}
	return h.FS.SyncDir(name)
}

type hookFile struct {
	vfs.File
	fs   *hookFS
	name string
}

func (f *hookFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.ask("write", f.name); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *hookFile) Sync() error {
	if err := f.fs.ask("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

// copyDir copies a closed directory, so that one state can be damaged in many
// ways. Badger's files are sparse; holes stay holes.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return copySparse(path, filepath.Join(to, rel))
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func copySparse(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	err = f.Truncate(int64(len(data)))
	const block = 64 << 10
	for off := 0; off < len(data) && err == nil; off += block {
		part := data[off:min(off+block, len(data))]
		if slices.ContainsFunc(part, func(b byte) bool { return b != 0 }) {
			_, err = f.WriteAt(part, int64(off))
		}
	}
	return errors.Join(err, f.Close())
}
