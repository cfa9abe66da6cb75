package engine

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
)

// TestMergeSparesBusySegments: a segment that a flush writes to is not merged
// away under its hands: the flush's runs would go with it, and their keys be
// fresh again.
func TestMergeSparesBusySegments(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(clock)
	e := mustOpen(t, t.TempDir(), o)
	generation := e.window.live()
	keys := intKeys(0, 3000)
	for i := 0; i < len(keys); i += 500 {
		if _, err := e.AdmitBatch(ctx, nil, keys[i:i+500]); err != nil {
			t.Fatal(err)
		}
		e.set.Seal(^uint64(0))
		eventually(t, "the flush has caught up", func() bool { return e.set.Sizes().Sealed == 0 })
	}
	seg, err := e.store.beginWrite(generation, 0, e.segmentBytes())
	if err != nil {
		t.Fatal(err)
	}
	mergeable := func() map[uint64]bool {
		picked, _, _ := e.store.mergeable(generation, true, func(int64) error { return nil })
		return picked
	}
	if picked := mergeable(); picked[seg.ID()] {
		t.Errorf("segment %d is picked for a merge while a flush writes to it", seg.ID())
	}
	e.store.endWrite(seg)
	if picked := mergeable(); !picked[seg.ID()] {
		t.Errorf("segment %d is not picked after the flush: %v", seg.ID(), picked)
	}
	if err := e.worker.do(ctx, func() error {
		_, err := e.merge(generation, true)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if runs, _ := e.runsOf(generation); runs != 1 {
		t.Errorf("%d runs per shard and form after the merge, want 1", runs)
	}
	vs, err := e.AdmitBatch(ctx, nil, keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range vs {
		if v != dedup.Duplicate {
			t.Fatalf("key %d after the merge: %v", i, v)
		}
	}
	mustClose(t, e)
}

// TestMergePaysByDisk: a look-up that is too little to make a merge pay does where it
// waits for the disk.
func TestMergePaysByDisk(t *testing.T) {
	clock := newFakeClock()
	e := mustOpen(t, t.TempDir(), testOptions(clock))
	generation := e.window.live()
	for i := range 3 {
		admitAll(t, e, intKeys(1000*i, 1000), dedup.Fresh)
		flushAll(t, e)
	}
	clock.advance(e.opts.span())
	admitAll(t, e, intKeys(10_000, 1), dedup.Fresh) // the generation is sealed
	// passes lets ten minutes pass with one look-up.
	passes := func(wait time.Duration) (runs int) {
		t.Helper()
		if err := e.worker.do(ctx, func() error {
			if err := e.worker.mergeDue(); err != nil { // what was before doesn't count
				return err
			}
			clock.advance(10 * time.Minute)
			e.counts.runsAsked.Add(1)
			e.counts.diskWait.Add(uint64(wait))
			return e.worker.mergeDue()
		}); err != nil {
			t.Fatal(err)
		}
		runs, _ = e.runsOf(generation)
		return runs
	}
	before, _ := e.runsOf(generation)
	if runs := passes(0); before < 2 || runs != before {
		t.Fatalf("in the page cache %d runs become %d, want 2 or more, unchanged", before, runs)
	}
	if runs := passes(time.Millisecond); runs != 1 {
		t.Errorf("after a wait for the disk there are %d runs, want 1", runs)
	}
	admitAll(t, e, intKeys(0, 3000), dedup.Duplicate)
}

// openUnmerged opens an engine with three runs per shard in its live generation, and returns their keys.
func openUnmerged(t *testing.T, dir string, o config) (*Engine, [][]byte) {
	t.Helper()
	e := mustOpen(t, dir, o)
	for i := range 3 {
		admitAll(t, e, intKeys(1000*i, 1000), dedup.Fresh)
		flushAll(t, e)
	}
	return e, intKeys(0, 3000)
}

// mergeLive has the worker merge the live generation, and prepare something before.
func mergeLive(e *Engine, prepare func()) error {
	return e.worker.do(ctx, func() error {
		prepare()
		_, err := e.merge(e.window.live(), true)
		return err
	})
}

// TestMergeAtFullDisk: a merge whose manifest finds no room leaves nothing behind and is made later.
func TestMergeAtFullDisk(t *testing.T) {
	disk, dir, o := newHookFS("MANIFEST.tmp"), t.TempDir(), testOptions(newFakeClock())
	o.fs = disk
	e, keys := openUnmerged(t, dir, o)
	before, err := persist.ListSegmentDirs(dir)
	if err != nil {
		t.Fatal(err)
	}
	full := func() { disk.set(func(string) error { return syscall.ENOSPC }) }
	if err := mergeLive(e, full); !errors.Is(err, dedup.ErrDiskFull) {
		t.Fatalf("at a full disk: %v", err)
	}
	if after, err := persist.ListSegmentDirs(dir); err != nil || !slices.Equal(after, before) {
		t.Errorf("segments %v become %v, %v", before, after, err)
	}
	if err := mergeLive(e, func() { disk.set(nil) }); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	if runs, _ := e.runsOf(e.window.live()); runs != 1 {
		t.Errorf("%d runs per shard and form after the merge, want 1", runs)
	}
	admitAll(t, e, keys, dedup.Duplicate)
	mustClose(t, e)
}

// TestI7FailedMerge: of a merge whose manifest has its name, but may not keep it, nobody knows
// whether the old runs or the merged one are promised. The engine ends, and either are there.
func TestI7FailedMerge(t *testing.T) {
	dir, o := t.TempDir(), testOptions(newFakeClock())
	disk := newHookFS(filepath.Base(dir))
	o.fs = disk
	e, keys := openUnmerged(t, dir, o)
	broken := errors.New("no")
	if err := mergeLive(e, func() { disk.set(func(string) error { return broken }) }); !errors.Is(err, broken) {
		t.Fatalf("the merge: %v", err)
	}
	refusedAll(t, e, dedup.Claim{}, dedup.ErrFailed)
	e.crash(t)
	o.fs = nil
	admitAll(t, mustOpen(t, dir, o), keys, dedup.Duplicate)
}

// TestMergeWithoutRoom: a merge that waits for room leaves the generation's segment to the flushes.
func TestMergeWithoutRoom(t *testing.T) {
	e, keys := openUnmerged(t, t.TempDir(), testOptions(newFakeClock()))
	live := e.window.live()
	before, err := e.store.segmentFor(live, 0, e.segmentBytes())
	if err != nil {
		t.Fatal(err)
	}
	dir := e.dir
	noRoom := func() { e.dir = filepath.Join(dir, "none") } // whose free space can't be told
	if err := mergeLive(e, noRoom); err != nil {
		t.Fatal(err)
	}
	if runs, _ := e.runsOf(live); runs < 2 {
		t.Fatal("it was merged: the test shows nothing")
	}
	if after, err := e.store.segmentFor(live, 0, e.segmentBytes()); err != nil || after != before {
		t.Errorf("flushes go to segment %d, %v, want %d", after.ID(), err, before.ID())
	}
	if err := mergeLive(e, func() { e.dir = dir }); err != nil {
		t.Fatal(err)
	}
	if runs, _ := e.runsOf(live); runs != 1 {
		t.Errorf("with room there are %d runs, want 1", runs)
	}
	if after, err := e.store.segmentFor(live, 0, e.segmentBytes()); err != nil || after == before {
		t.Errorf("a flush would write to the merged segment; %v", err)
	}
	admitAll(t, e, keys, dedup.Duplicate)
	mustClose(t, e)
}

// TestMergeOfDamage: a run that is damaged keeps its generation from being merged, and filters
// from growing, but the worker tries each of them once, and all else that it does goes on.
func TestMergeOfDamage(t *testing.T) {
	clock, dir := newFakeClock(), t.TempDir()
	o := testOptions(clock)
	o.workEvery = time.Millisecond
	var warnings atomic.Int64
	o.Logger = slog.New(countingHandler{slog.DiscardHandler, &warnings})
	held := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(held) })
	t.Cleanup(letGo)
	e := mustOpen(t, dir, o)
	waiting := make(chan error, 1) // the worker waits, so that nothing is merged yet
	go func() { waiting <- e.worker.do(ctx, func() error { <-held; return nil }) }()
	for i := range 2 * maxRuns {
		admitAll(t, e, intKeys(4000*i, 4000), dedup.Fresh) // more than Capacity: filters want to grow
		flushAll(t, e)
	}
	clock.advance(e.opts.span())
	admitAll(t, e, intKeys(100_000, 1), dedup.Fresh)
	for _, f := range valueLogs(t, dir) {
		for quarter := range int64(3) { // one of them may lie between two values
			flip(t, f, int64(usedBytes(t, f))*(quarter+1)/4)
		}
	}
	letGo()
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the scrubber goes round, and finds the damage", func() bool {
		s := e.Stats().Scrub
		return s.Passes > 1 && s.Errors > 0
	})
	if n := warnings.Load(); n == 0 || n > 4 {
		t.Errorf("%d warnings of background work, want one for the merge and one for the growth", n)
	}
	if err := e.Snapshot(ctx); err != nil { // of shards whose filters have grown, and others
		t.Errorf("snapshot: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

// countingHandler counts warnings of background work.
type countingHandler struct {
	slog.Handler
	warnings *atomic.Int64
}

func (h countingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h countingHandler) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn && r.Message == "background work failed" {
		h.warnings.Add(1)
	}
	return nil
}
