package engine

import (
	"sync"
	"testing"
)

// occupy keeps the worker busy until the test or the function that it returns ends it.
func occupy(t *testing.T, e *Engine) (end func()) {
	t.Helper()
	busy, let := make(chan struct{}), make(chan struct{})
	end = sync.OnceFunc(func() { close(let) })
	t.Cleanup(end)
	e.worker.post(func() error { close(busy); <-let; return nil })
	receive(t, "the worker is busy", busy)
	return end
}

// rotateOften begins so many generations, and after each waits until the maintenance has made room in
// the journal, which it does last.
func rotateOften(t *testing.T, e *Engine, clock *fakeClock, n int) {
	t.Helper()
	for range n {
		clock.advance(e.opts.span())
		mustContain(t, e, intKey(-1), false)
		e.roomWanted.Store(true)
		e.maintainer.wake()
		eventually(t, "the maintenance makes room", func() bool { return !e.roomWanted.Load() })
	}
}

// TestRotationsWhileMerging: however many generations begin while the worker is at a merge, the
// maintenance goes on. What follows them on the disk comes afterwards.
func TestRotationsWhileMerging(t *testing.T) {
	clock := newFakeClock()
	e := mustOpen(t, t.TempDir(), testOptions(clock))
	end := occupy(t, e)
	rotateOften(t, e, clock, 4*cap(e.worker.jobs))
	end()
	eventually(t, "the manifest has the window", func() bool {
		gs, held := e.promisedGenerations(), e.window.held()
		return gs[0] == held[0] && gs[len(gs)-1] == held[len(held)-1]
	})
	mustClose(t, e)
}

// TestSnapshotsWhileMerging: calls of Snapshot that gave up waiting for a merge don't fill the worker's
// queue, in which the maintenance needs room.
func TestSnapshotsWhileMerging(t *testing.T) {
	clock := newFakeClock()
	e := mustOpen(t, t.TempDir(), testOptions(clock))
	end := occupy(t, e)
	for range 8 * cap(e.worker.jobs) {
		if err := e.Snapshot(newEndsAtWait()); err == nil {
			t.Fatal("a snapshot was written: the test shows nothing")
		}
	}
	rotateOften(t, e, clock, 4)
	end()
	if err := e.Snapshot(ctx); err != nil {
		t.Error(err)
	}
	mustClose(t, e)
}
