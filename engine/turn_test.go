package engine

import (
	"runtime"
	"sync"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// TestTurns: callers with many keys that share a processor make their calls in turn,
// where the scheduler alone would change between them every 10 ms.
func TestTurns(t *testing.T) {
	const calls, keysACall = 1000, 500
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	o := testOptions(nil)
	o.Sync = SyncNone // nobody waits for the disk
	e := mustOpen(t, t.TempDir(), o)
	e.batches.Add(1) // as if a third one were at work, or the two might miss each other
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		order []int // who made each call
	)
	for caller := range 2 {
		keys := intKeys(caller*keysACall, keysACall)
		wg.Go(func() {
			want := dedup.Fresh
			for range calls {
				vs, err := e.AdmitBatch(ctx, nil, keys)
				if err != nil {
					t.Error(err)
					return
				}
				for i, v := range vs {
					if v != want {
						t.Errorf("caller %d, key %d: %v, want %v", caller, i, v, want)
						return
					}
				}
				want = dedup.Duplicate
				mu.Lock()
				order = append(order, caller)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	changes := 0
	for i := 1; i < len(order); i++ {
		if order[i] != order[i-1] {
			changes++
		}
	}
	// One of them makes calls alone before the other has begun, and after it is done.
	if changes < calls/4 {
		t.Errorf("%d calls, one caller after the other %d times", len(order), changes)
	}
	if n := e.batches.Add(-1); n != 0 {
		t.Errorf("%d batches are at work after all", n)
	}
}
