package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
)

// segmentDirs counts the segments on disk.
func segmentDirs(dir string) (int, error) {
	ids, err := persist.ListSegmentDirs(dir)
	return len(ids), err
}

// closedDir makes a directory with runs in several generations and closes it.
func closedDir(t *testing.T, o Options, clock *fakeClock) (dir string, keys [][]byte) {
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
		if info, err := os.Stat(f); err == nil && allocated(info) > 16<<10 {
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
func damaged(t *testing.T, dir string, o Options, keys [][]byte) (told bool) {
	t.Helper()
	e, err := Open(dir, o)
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
	names := []string{persist.ManifestName, persist.IdentityName, journalName, filepath.Base(segs[0])}
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
				if name == journalName {
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

func wantCorrupt(t *testing.T, dir string, o Options) {
	t.Helper()
	e, err := Open(dir, o)
	if err == nil {
		_ = e.Close()
	}
	var c *dedup.CorruptError
	if !errors.Is(err, dedup.ErrCorrupt) || !errors.As(err, &c) || c.File == "" {
		t.Errorf("opening: %v, want a CorruptError with a file", err)
	}
}

// TestI7FailedSync: after a failed sync of the journal the answer is Unknown,
// every call is refused until the directory is opened again, and what was
// acknowledged before is there then.
func TestI7FailedSync(t *testing.T) {
	for _, op := range []string{"sync", "write"} {
		t.Run(op, func(t *testing.T) {
			disk := newHookFS("journal")
			dir, o := t.TempDir(), testOptions(nil)
			o.fs = disk
			e := mustOpen(t, dir, o)
			before := intKeys(0, 100)
			admitAll(t, e, before, dedup.Fresh)
			held := mustClaim(t, e, intKey(500), dedup.Fresh)
			broken := errors.New("the disk is on fire")
			disk.set(func(o string) error {
				if o == op {
					return broken
				}
				return nil
			})
			batch := intKeys(100, 100) // too large for the mapped ring: it is written
			vs, err := e.AdmitBatch(ctx, nil, batch)
			if !errors.Is(err, dedup.ErrFailed) || !errors.Is(err, broken) {
				t.Errorf("the failing call: %v", err)
			}
			for i, v := range vs {
				if v != dedup.Unknown {
					t.Fatalf("key %d of the failed call: %v", i, v)
				}
			}
			disk.set(nil) // a later sync that succeeds proves nothing
			refusedAll(t, e, held, dedup.ErrFailed)
			if err := e.Close(); errors.Is(err, dedup.ErrClosed) {
				t.Errorf("close: %v", err)
			}
			e = mustOpen(t, dir, o)
			admitAll(t, e, before, dedup.Duplicate)
			for i, v := range mustAdmit(t, e, batch...) {
				if v != dedup.Fresh && v != dedup.Duplicate {
					t.Fatalf("key %d of the failed call, after opening again: %v", i, v)
				}
			}
			admitAll(t, e, batch, dedup.Duplicate)
		})
	}
}

// refusedAll calls every method and wants one error.
func refusedAll(t *testing.T, e *Engine, held dedup.Claim, want error) {
	t.Helper()
	v, err := e.Admit(ctx, intKey(0))
	errs := map[string]error{"admit": err}
	if v != dedup.Unknown {
		t.Errorf("admit: %v", v)
	}
	vs, err := e.AdmitBatch(ctx, []dedup.Verdict{dedup.Fresh}, intKeys(0, 3))
	if errs["admit batch"] = err; !slices.Equal(vs, []dedup.Verdict{dedup.Fresh, 0, 0, 0}) {
		t.Errorf("admit batch: %v", vs)
	}
	c, err := e.Claim(ctx, intKey(0))
	if errs["claim"] = err; c.Verdict != dedup.Unknown || c.Token != (dedup.Token{}) {
		t.Errorf("claim: %+v", c)
	}
	cs, err := e.ClaimBatch(ctx, nil, intKeys(0, 2))
	if errs["claim batch"] = err; len(cs) != 2 || cs[0].Verdict != dedup.Unknown {
		t.Errorf("claim batch: %+v", cs)
	}
	ok, err := e.Contains(ctx, intKey(0))
	if errs["contains"] = err; ok {
		t.Error("contains says yes")
	}
	_, errs["extend"] = e.Extend(ctx, held, 0)
	errs["commit"] = e.Commit(ctx, held)
	errs["release"] = e.Release(ctx, held)
	errs["forget"] = e.Forget(ctx, intKey(0))
	errs["snapshot"] = e.Snapshot(ctx)
	for name, err := range errs {
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// TestI7FailedManifest: a flush that can't promise its runs ends the engine too,
// and loses nothing: the keys are in the journal.
func TestI7FailedManifest(t *testing.T) {
	disk := newHookFS(persist.ManifestName)
	dir, o := t.TempDir(), testOptions(nil)
	o.fs = disk
	e := mustOpen(t, dir, o)
	keys := intKeys(0, 2000)
	admitAll(t, e, keys, dedup.Fresh)
	flushAll(t, e)
	broken := errors.New("no")
	disk.set(func(string) error { return broken })
	more := intKeys(2000, 200)
	admitAll(t, e, more, dedup.Fresh)
	e.set.Seal(^uint64(0))
	eventually(t, "the engine refuses", func() bool {
		_, err := e.Admit(ctx, intKey(0))
		return errors.Is(err, dedup.ErrFailed) && errors.Is(err, broken)
	})
	disk.set(nil)
	refusedAll(t, e, dedup.Claim{}, dedup.ErrFailed)
	_ = e.Close()
	e = mustOpen(t, dir, o)
	admitAll(t, e, keys, dedup.Duplicate)
	admitAll(t, e, more, dedup.Duplicate)
}

// TestI8NoLockAcrossIO: while one caller waits for a run and another for the
// journal's sync, both of the only shard, all others get their answers.
func TestI8NoLockAcrossIO(t *testing.T) {
	disk := newHookFS("journal")
	o := testOptions(nil)
	o.fs, o.Shards = disk, 1
	e := mustOpen(t, t.TempDir(), o)
	admitAll(t, e, intKeys(0, 3000), dedup.Fresh)
	flushAll(t, e)
	let := make(chan struct{}) // the disk works again
	letOnce := sync.OnceFunc(func() { close(let) })
	defer letOnce()
	others := func(doing string, calls func()) {
		t.Helper()
		done := make(chan struct{})
		go func() { defer close(done); calls() }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Errorf("%s: others wait too", doing)
			letOnce()
			<-done
		}
	}
	free := func() {
		c, err := e.Claim(ctx, []byte("nobody's"))
		if err != nil || c.Verdict != dedup.Fresh {
			t.Errorf("claim: %v, %v", c.Verdict, err)
		}
		if err := e.Release(ctx, c); err != nil {
			t.Error(err)
		}
		if ok, err := e.Contains(ctx, []byte("never seen")); ok || err != nil {
			t.Errorf("contains: %v, %v", ok, err)
		}
		if ok, err := e.Contains(ctx, intKey(2)); !ok || err != nil { // rests on a run, not on the journal
			t.Errorf("contains: %v, %v", ok, err)
		}
		_ = e.Stats()
	}
	// A look-up that stays within the runs: the scratch of a Confirm is taken
	// before anything else, and it is not to be had.
	inRuns := make(chan struct{})
	var asked atomic.Bool
	e.store.lookups.New = func() any {
		if asked.CompareAndSwap(false, true) {
			close(inRuns)
			<-let
		}
		return new(lookup)
	}
	slow := make(chan error, 2)
	go func() {
		v, err := e.Admit(ctx, intKey(0))
		if v != dedup.Duplicate {
			err = errors.Join(err, fmt.Errorf("the slow look-up says %v", v))
		}
		slow <- err
	}()
	<-inRuns
	others("one waits for a run", func() {
		free()
		if vs, err := e.AdmitBatch(ctx, nil, intKeys(5000, 100)); err != nil || vs[0] != dedup.Fresh {
			t.Errorf("admit: %v, %v", vs, err)
		}
	})
	// And one that stays in the journal's sync, on top of it.
	syncing := make(chan struct{}, 64)
	disk.set(func(op string) error {
		if op == "sync" {
			syncing <- struct{}{}
			<-let
		}
		return nil
	})
	go func() {
		_, err := e.Admit(ctx, intKey(6000))
		slow <- err
	}()
	<-syncing
	others("another waits for a sync", free)
	disk.set(nil)
	letOnce()
	for range 2 {
		if err := <-slow; err != nil {
			t.Error(err)
		}
	}
}
