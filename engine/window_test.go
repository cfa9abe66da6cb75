package engine

import (
	"sync"
	"testing"
	"time"
)

// TestRotationWithFullRing: generations begin while calls wait for the journal's
// room. A flush has to get at the window meanwhile, or both wait for ever.
func TestRotationWithFullRing(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(clock)
	o.Window, o.Shards = 7*time.Hour, 1
	o.ringBytes, o.tableKeys = 64<<10, 1<<20
	e := mustOpen(t, t.TempDir(), o)
	var wg sync.WaitGroup
	for caller := range 4 {
		wg.Go(func() {
			for i := range 20 {
				if _, err := e.AdmitBatch(ctx, nil, intKeys((caller*20+i)*1000, 1000)); err != nil {
					t.Error(err)
					return
				}
				clock.advance(20 * time.Minute)
			}
		})
	}
	wg.Wait()
	s := e.Stats()
	if s.Flush.Rotations < 10 || s.Journal.WaitsOnRoom == 0 {
		t.Errorf("%d rotations, %d waits for room: the test shows nothing", s.Flush.Rotations, s.Journal.WaitsOnRoom)
	}
	mustClose(t, e)
}
