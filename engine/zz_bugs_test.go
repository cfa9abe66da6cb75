package engine

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/shards"
)

// TestBugVerifyProgress: progress is told the bytes of runs checked and in all;
// the bytes of snapshots are added to the former and not to the latter.
func TestBugVerifyProgress(t *testing.T) {
	clock := newFakeClock()
	dir, _ := closedDir(t, testOptions(clock), clock)
	last, all := int64(0), int64(0)
	if _, err := Verify(ctx, dir, func(done, total int64) { last, all = max(last, done), total }); err != nil {
		t.Fatal(err)
	}
	if last != all {
		t.Errorf("%d of %d bytes at the end", last, all)
	}
}

// TestBugGrowthBudget: the largest filter is meant to take half of the budget,
// but neither the live generation beside the window nor the words that Sliced
// pads are counted: with five generations it takes all of it and more.
func TestBugGrowthBudget(t *testing.T) { growthBounded(t, 5) }

// TestBugAnswersOfFailedWrite: a call of more than shards.MaxPart keys, one of
// them invalid behind the first part, keeps the first part's answers though the
// write that they rest on failed (I7: an error means unknown).
func TestBugAnswersOfFailedWrite(t *testing.T) {
	disk := newHookFS("journal")
	o := testOptions(nil)
	o.fs = disk
	e := mustOpen(t, t.TempDir(), o)
	broken := errors.New("no")
	disk.set(func(string) error { return broken })
	keys := intKeys(0, shards.MaxPart+100)
	keys[shards.MaxPart+50] = nil
	vs, err := e.AdmitBatch(ctx, nil, keys)
	if !errors.Is(err, dedup.ErrFailed) {
		t.Fatalf("%v", err)
	}
	for i, v := range vs {
		if v != dedup.Unknown {
			t.Fatalf("key %d: %v, the call failed with %v", i, v, err)
		}
	}
}

// TestBugRetiredFilesStay: a flush that comes between a retirement and the
// worker's afterRotation writes a manifest without the retired generations
// (promise, describe), so afterRotation no longer finds them there: their
// snapshots, and segments that took merged runs, stay on disk until the next
// opening. A rotation seals tables, so a flush nearly always follows one.
func TestBugRetiredFilesStay(t *testing.T) {
	clock := newFakeClock()
	o, dir := testOptions(clock), t.TempDir()
	e := mustOpen(t, dir, o)
	for i := range 4 {
		admitAll(t, e, intKeys(1000*i, 1000), dedup.Fresh)
		flushAll(t, e)
		clock.advance(e.opts.span())
	}
	admitAll(t, e, intKeys(10_000, 10), dedup.Fresh)
	eventually(t, "snapshots of four generations", func() bool {
		names, err := filepath.Glob(filepath.Join(dir, "filter-*.snap"))
		return err == nil && len(names) >= 4
	})
	busy, let := make(chan struct{}), make(chan struct{})
	e.post(func() error { close(busy); <-let; return nil })
	<-busy // the worker does nothing for now
	clock.advance(2 * o.Window)
	admitAll(t, e, intKeys(20_000, 10), dedup.Fresh) // all of them are retired
	flushAll(t, e)
	close(let)
	eventually(t, "the files of the retired generations are gone", func() bool {
		names, err := persist.ListSnapshots(e.fs, dir)
		ids, err2 := persist.ListSegmentDirs(dir)
		return err == nil && err2 == nil && (len(names) == 0 || names[0] >= e.set.Oldest()) && len(ids) <= 2
	})
}
