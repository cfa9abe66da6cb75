package engine

import (
	"errors"
	"testing"

	"github.com/firstseen/firstseen/dedup"
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
