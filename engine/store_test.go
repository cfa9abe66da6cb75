package engine

import (
	"testing"

	"github.com/firstseen/firstseen/persist"
)

// TestSegmentWithoutRoom: a flush that does not fit into its generation's segment
// gets another one, and an empty segment is not left behind.
func TestSegmentWithoutRoom(t *testing.T) {
	e := mustOpen(t, t.TempDir(), testOptions(newFakeClock()))
	defer e.Close()
	live := e.window.live()
	first, err := e.store.segmentFor(live, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := e.store.segmentFor(live, first.Room(), 1<<20); again != first || err != nil {
		t.Errorf("segment %d has room, got %d, %v", first.ID(), again.ID(), err)
	}
	second, err := e.store.segmentFor(live, first.Room()+1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if second == first || second.Room() <= first.Room() {
		t.Errorf("segment %d with room for %d bytes after %d with %d", second.ID(), second.Room(), first.ID(), first.Room())
	}
	if gone := e.store.takeDropped(); !gone[first.ID()] || gone[second.ID()] {
		t.Errorf("to be removed: %v", gone)
	}
}

// TestMergesAny: segments are worth a merge where a shard has two runs of a form.
func TestMergesAny(t *testing.T) {
	run := func(shard uint16, form uint8) persist.RunMeta { return persist.RunMeta{Shard: shard, Form: form} }
	g := &persist.GenerationMeta{Segments: []persist.SegmentMeta{
		{ID: 1, Runs: []persist.RunMeta{run(0, 0), run(1, 0), run(1, 3)}},
		{ID: 2, Runs: []persist.RunMeta{run(2, 0), run(1, 1)}},
		{ID: 3, Runs: []persist.RunMeta{run(2, 0), run(1, 0)}},
	}}
	f := func(want bool, ids ...uint64) {
		t.Helper()
		picked := map[uint64]bool{}
		for _, id := range ids {
			picked[id] = true
		}
		if got := mergesAny(g, picked); got != want {
			t.Errorf("segments %v: %v", ids, got)
		}
	}
	f(false)
	f(false, 1)
	f(false, 1, 2)
	f(true, 1, 3)
	f(true, 2, 3)
}
