package engine

import (
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
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
	if picked, _ := e.store.mergeable(generation, true); picked[seg.ID()] {
		t.Errorf("segment %d is picked for a merge while a flush writes to it", seg.ID())
	}
	e.store.endWrite(seg)
	if picked, _ := e.store.mergeable(generation, true); !picked[seg.ID()] {
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
