package engine

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine/inspect"
	"github.com/firstseen/firstseen/persist"
)

const lockEnv = "FIRSTSEEN_TEST_LOCK"

// TestLocked: a second engine on the directory, of this process or another, gets
// ErrLocked at once; after Close the directory is free.
func TestLocked(t *testing.T) {
	if dir := os.Getenv(lockEnv); dir != "" {
		_, err := openWith(dir, testOptions(nil))
		if errors.Is(err, dedup.ErrLocked) {
			os.Stdout.WriteString("locked\n")
		}
		return
	}
	dir := t.TempDir()
	e := mustOpen(t, dir, testOptions(nil))
	if _, err := openWith(dir, testOptions(nil)); !errors.Is(err, dedup.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the same process: %v", err)
	}
	child := func() string {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLocked$")
		cmd.Env = append(os.Environ(), lockEnv+"="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("child: %v: %s", err, out)
		}
		return string(out)
	}
	if out := child(); !strings.Contains(out, "locked") {
		t.Errorf("another process: %s", out)
	}
	if _, err := inspect.Inspect(ctx, dir); !errors.Is(err, dedup.ErrLocked) {
		t.Errorf("inspect: %v", err)
	}
	if _, err := inspect.Verify(ctx, dir, nil); !errors.Is(err, dedup.ErrLocked) {
		t.Errorf("verify: %v", err)
	}
	admitAll(t, e, intKeys(0, 10), dedup.Fresh) // nothing happened to it
	mustClose(t, e)
	if out := child(); strings.Contains(out, "locked") {
		t.Errorf("after Close: %s", out)
	}
}

// TestBadOptions: one error names every problem.
func TestBadOptions(t *testing.T) {
	_, err := Open(t.TempDir(), Options{
		Window: -1, Generations: 9, BitsPerKey: 7, Shards: 3, Filter: bloom.Kind(9), Mode: 5, Sync: 7,
		SyncEvery: -1, Lease: -1, MemoryBudget: -1, OnGap: 9,
	})
	if err == nil {
		t.Fatal("nothing is wrong with it")
	}
	for _, name := range []string{"Window", "Generations", "BitsPerKey", "Shards", "Filter", "Mode", "Sync ", "SyncEvery", "Lease", "MemoryBudget", "OnGap"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error doesn't name %s:\n%v", name, err)
		}
	}
	f := func(name string, o Options) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "new")
		if _, err := Open(dir, o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v", o, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the directory was made in spite of the error", name)
		}
	}
	f("Window", Options{})
	f("Window", Options{Window: 7}) // too short to be cut into generations
	f("Generations", Options{Window: time.Hour, Generations: 2})
	f("BitsPerKey", Options{Window: time.Hour, BitsPerKey: 65})
	f("Shards", Options{Window: time.Hour, Shards: 512})
	f("Shards", Options{Window: time.Hour, Shards: -1})
}

// TestFixedOptions: what can't be changed later is refused by name, and the
// directory stays as it was.
func TestFixedOptions(t *testing.T) {
	dir, o := t.TempDir(), testOptions(nil)
	e := mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 100), dedup.Fresh)
	mustClose(t, e)
	for name, change := range map[string]func(o *config){
		"Shards":        func(o *config) { o.Shards = 8 },
		"Mode":          func(o *config) { o.Mode = Approximate },
		"UntrustedKeys": func(o *config) { o.UntrustedKeys = true },
	} {
		bad := o
		change(&bad)
		if _, err := openWith(dir, bad); !errors.Is(err, dedup.ErrIncompatible) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The others may change from opening to opening.
	for name, change := range map[string]func(o *config){
		"Filter":      func(o *config) { o.Filter = bloom.Compact },
		"BitsPerKey":  func(o *config) { o.BitsPerKey = 12 },
		"Capacity":    func(o *config) { o.Capacity = 500_000 },
		"KeyBytes":    func(o *config) { o.KeyBytes = 100 },
		"Generations": func(o *config) { o.Generations = 8 },
		"Sync":        func(o *config) { o.Sync = SyncNone },
		"Shards 0":    func(o *config) { o.Shards = 0 },
	} {
		other := o
		change(&other)
		e, err := openWith(dir, other)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		admitAll(t, e, intKeys(0, 100), dedup.Duplicate)
		mustClose(t, e)
	}
}

// TestKeyBytes: the ring holds four times the usual keys of one set of full tables, and keeps
// its size.
func TestKeyBytes(t *testing.T) {
	for _, c := range []struct {
		keyBytes, record int64
	}{{0, 16}, {8, 16}, {16, 16}, {36, 37}, {47, 48}, {255, 48}, {1000, 48}} {
		dir, o := t.TempDir(), testOptions(nil)
		o.tableKeys, o.ringBytes, o.KeyBytes = 100_000, 0, int(c.keyBytes)
		e := mustOpen(t, dir, o)
		ring, want := e.Stats().Journal.RingBytes, 4*c.record*100_000*int64(o.Shards)
		if ring < want || ring > want+4096 {
			t.Errorf("KeyBytes %d: a ring of %d bytes, want %d", c.keyBytes, ring, want)
		}
		mustClose(t, e)
		o.KeyBytes = 200
		e = mustOpen(t, dir, o)
		if again := e.Stats().Journal.RingBytes; again != ring {
			t.Errorf("KeyBytes %d: the ring has %d bytes after another opening, %d before", c.keyBytes, again, ring)
		}
		mustClose(t, e)
	}
	for _, wrong := range []int{-1, dedup.MaxKeyLen + 1} {
		o := testOptions(nil)
		o.KeyBytes = wrong
		if _, err := openWith(t.TempDir(), o); err == nil || !strings.Contains(err.Error(), "KeyBytes") {
			t.Errorf("KeyBytes %d: %v", wrong, err)
		}
	}
}

// TestClosed: Close ends once; every method after it gives ErrClosed.
func TestClosed(t *testing.T) {
	for _, mode := range []Mode{Exact, Approximate} {
		o := testOptions(nil)
		o.Mode = mode
		e := mustOpen(t, t.TempDir(), o)
		admitAll(t, e, intKeys(0, 10), dedup.Fresh)
		held := mustClaim(t, e, intKey(50), dedup.Fresh)
		mustClose(t, e)
		if err := e.Close(); !errors.Is(err, dedup.ErrClosed) {
			t.Errorf("%v: the second Close: %v", mode, err)
		}
		if mode == Exact { // else Forget is ErrUnsupported before anything
			refusedAll(t, e, held, dedup.ErrClosed)
		}
		if s := e.Stats(); s.Verdicts.Fresh != 0 {
			t.Errorf("%v: stats after Close: %+v", mode, s)
		}
	}
}

// TestCloseLeavesNothing: no goroutine outlives Close, nor a failed Open.
func TestCloseLeavesNothing(t *testing.T) {
	warm := mustOpen(t, t.TempDir(), testOptions(nil)) // starts what lives with the process
	mustClose(t, warm)
	ignore := goleak.IgnoreCurrent()
	clock := newFakeClock()
	dir := t.TempDir()
	for _, mode := range []Mode{Exact, Approximate} {
		for _, how := range []Sync{SyncAlways, SyncInterval, SyncNone} {
			o := testOptions(clock)
			o.Mode, o.Sync = mode, how
			sub := filepath.Join(dir, mode.String()+how.String())
			e := mustOpen(t, sub, o)
			for i := range 5 {
				mustAdmit(t, e, intKeys(2000*i, 2000)...)
				clock.advance(o.Window / 3)
			}
			mustClose(t, e)
			if mode == Exact {
				if err := os.Remove(filepath.Join(sub, persist.JournalName)); err != nil {
					t.Fatal(err)
				}
				wantCorrupt(t, sub, o)
			}
		}
	}
	goleak.VerifyNone(t, ignore)
}

// TestContextBefore: a call whose context has ended does nothing and says why. Only the
// end of a claim goes on, which has nothing to wait for here.
func TestContextBefore(t *testing.T) {
	e := mustOpen(t, t.TempDir(), testOptions(nil))
	held := mustClaim(t, e, intKey(1), dedup.Fresh)
	cause := errors.New("changed my mind")
	over, cancel := context.WithCancelCause(ctx)
	cancel(cause)
	vs, err := e.AdmitBatch(over, nil, intKeys(0, 2))
	if !errors.Is(err, cause) || len(vs) != 2 || vs[0] != dedup.Unknown {
		t.Errorf("admit: %v, %v", vs, err)
	}
	_, err = e.Claim(over, intKey(0))
	errs := map[string]error{"claim": err, "forget": e.Forget(over, intKey(0)), "snapshot": e.Snapshot(over)}
	_, errs["contains"] = e.Contains(over, intKey(0))
	for name, err := range errs {
		if !errors.Is(err, cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
	mustContain(t, e, intKey(0), false)
	mustClaim(t, e, intKey(1), dedup.InFlight)
	if _, err := e.Extend(over, held, 0); err != nil {
		t.Errorf("extend: %v", err)
	}
	if err := e.Commit(over, held); err != nil {
		t.Errorf("commit: %v", err)
	}
	mustClaim(t, e, intKey(1), dedup.Duplicate)
}

// TestContextWhileWaiting: a call that waits for room ends with its context; once
// there is room calls go on, and nothing that was answered is lost.
func TestContextWhileWaiting(t *testing.T) {
	disk := newHookFS("journal")
	dir, o := t.TempDir(), testOptions(nil)
	o.fs, o.Sync, o.tableKeys = disk, SyncNone, 200
	e := mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 10), dedup.Fresh)
	let := make(chan struct{})
	letOnce := sync.OnceFunc(func() { close(let) })
	defer letOnce()
	disk.set(func(op string) error { // the flush needs the journal's sync
		if op == "sync" {
			<-let
		}
		return nil
	})
	waiting, cancel := context.WithCancelCause(ctx)
	cause := errors.New("no patience")
	type result struct {
		fresh int
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		for r.err == nil {
			var vs []dedup.Verdict
			vs, r.err = e.AdmitBatch(waiting, nil, intKeys(1000+r.fresh, 50))
			if r.err == nil {
				r.fresh += len(vs)
			}
		}
		done <- r
	}()
	eventually(t, "all tables are full", func() bool {
		z := e.set.Sizes()
		return z.Sealed >= o.Shards
	})
	cancel(cause)
	var r result
	select {
	case r = <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the call waits on, its context has ended")
	}
	if !errors.Is(r.err, cause) {
		t.Errorf("the waiting call: %v", r.err)
	}
	mustContain(t, e, intKey(1), true) // look-ups don't wait for room
	disk.set(nil)
	letOnce()
	admitAll(t, e, intKeys(1000, r.fresh), dedup.Duplicate)
	admitAll(t, e, intKeys(1_000_000, 5000), dedup.Fresh)
	mustClose(t, e)
	e = mustOpen(t, dir, o)
	admitAll(t, e, intKeys(1000, r.fresh), dedup.Duplicate)
}

// TestCloseFlushes: many unflushed keys are runs at the next opening, a few are
// left to the journal, and all of them are remembered.
func TestCloseFlushes(t *testing.T) {
	for _, many := range []bool{true, false} {
		o := testOptions(newFakeClock())
		if o.lastFlush = 1000; many {
			o.lastFlush = 100
		}
		dir := t.TempDir()
		e := mustOpen(t, dir, o)
		admitAll(t, e, intKeys(0, 500), dedup.Fresh)
		mustClose(t, e)
		e = mustOpen(t, dir, o)
		if replayed := e.Stats().Recovery.Replayed; many != (replayed == 0) {
			t.Errorf("many keys: %v, %d replayed", many, replayed)
		}
		admitAll(t, e, intKeys(0, 500), dedup.Duplicate)
		admitAll(t, e, intKeys(500, 500), dedup.Fresh)
		mustClose(t, e)
	}
}

// TestCloseWhileFlushWaits: Close comes while a flush waits for room on the disk,
// and flushes itself: the older table first, or the newer one's run would say
// that the journal is not needed for either.
func TestCloseWhileFlushWaits(t *testing.T) {
	o, dir := testOptions(nil), t.TempDir()
	o.lastFlush, o.Shards = 1, 1
	hook := newHookFS("MANIFEST.tmp")
	o.fs = hook
	e := mustOpen(t, dir, o)
	written := e.store.manifest.Sequence
	mustAdmit(t, e, intKey(-1))
	if err := e.Snapshot(ctx); err != nil { // all that Open had begun is done
		t.Fatal(err)
	}
	hook.set(func(string) error {
		if e.stop.Err() == nil {
			return syscall.ENOSPC // until Close
		}
		return nil
	})
	admitAll(t, e, intKeys(0, 500), dedup.Fresh)
	e.set.Seal(math.MaxUint64)
	e.flusher.wake()
	eventually(t, "the flush waits", func() bool { return e.diskFull.Load() })
	e.setDiskFull(false) // as the guard does when there seems to be room
	admitAll(t, e, intKeys(500, 500), dedup.Fresh)
	mustClose(t, e)
	if e.store.manifest.Sequence == written {
		t.Fatal("Close flushed nothing: the test shows nothing")
	}
	o.fs = nil
	e = mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 1000), dedup.Duplicate)
}

// TestReopenStates: directories that a crash within Open leaves, or that are not
// ours.
func TestReopenStates(t *testing.T) {
	o := testOptions(nil)
	for name, c := range map[string]struct {
		prepare func(dir string) error
		want    error // nil: an empty engine
	}{
		"empty": {func(string) error { return nil }, nil},
		"half made": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, persist.CreatingName), []byte(creatingText), 0o644)
		}, nil},
		"other files": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("mine"), 0o644) }, dedup.ErrIncompatible},
		"journal":     {func(dir string) error { return os.WriteFile(filepath.Join(dir, persist.JournalName), nil, 0o644) }, dedup.ErrCorrupt},
		"segment":     {func(dir string) error { return os.Mkdir(filepath.Join(dir, "seg-00000001"), 0o755) }, dedup.ErrCorrupt},
		"snapshot":    {func(dir string) error { return os.WriteFile(persist.SnapshotPath(dir, 1), nil, 0o644) }, dedup.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.prepare(dir); err != nil {
				t.Fatal(err)
			}
			e, err := openWith(dir, o)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil {
				admitAll(t, e, intKeys(0, 10), dedup.Fresh)
				mustClose(t, e)
			}
			if name == "other files" {
				if data, err := os.ReadFile(filepath.Join(dir, "notes.txt")); string(data) != "mine" {
					t.Errorf("%q, %v", data, err)
				}
			}
		})
	}
}

// TestLockWait: an opening waits for the directory as long as it was told to, and no longer.
func TestLockWait(t *testing.T) {
	o := testOptions(nil)
	first := mustOpen(t, t.TempDir(), o)
	mustAdmit(t, first, intKey(1))
	for _, wait := range []time.Duration{0, 30 * time.Millisecond} {
		o.LockWait = wait
		if _, err := openWith(first.dir, o); !errors.Is(err, dedup.ErrLocked) {
			t.Fatalf("a second opening that waits %v: %v", wait, err)
		}
	}
	o.LockWait = time.Minute
	opened := make(chan *Engine, 1)
	go func() {
		e, err := openWith(first.dir, o)
		if err != nil {
			t.Error(err)
		}
		opened <- e
	}()
	select {
	case <-opened:
		t.Fatal("two engines have the directory open")
	case <-time.After(50 * time.Millisecond):
	}
	mustClose(t, first)
	if second := receive(t, "the directory is opened", opened); second != nil {
		mustContain(t, second, intKey(1), true)
		mustClose(t, second)
	}
	o.LockWait = -1
	if _, err := openWith(t.TempDir(), o); err == nil {
		t.Error("a negative LockWait was taken")
	}
}
