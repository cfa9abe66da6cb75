package engine

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
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

// TestRotationWithoutRoom: a generation is due when the ring is full and nothing
// is sealed. The maintenance, which makes room, must not wait for it.
func TestRotationWithoutRoom(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(clock)
	o.Sync, o.ringBytes, o.tableKeys = SyncNone, 64<<10, 100_000
	for range 20 {
		e := mustOpen(t, t.TempDir(), o)
		used := func() int64 { return e.journal.State().Used }
		n := 0
		admit := func(keys int) { mustAdmit(t, e, intKeys(n, keys)...); n += keys }
		admit(20)
		eventually(t, "the maintenance rests", func() bool { return len(e.maintainer.kick) == 0 })
		for used() < 60_000 {
			admit(20)
		}
		for used() < o.ringBytes-1620 {
			admit(1)
		}
		if full := e.journal.State().Tail == 0 && e.set.Sizes().Sealed == 0; !full {
			mustClose(t, e) // the maintenance came in between
			continue
		}
		clock.advance(e.opts.span() + time.Minute)
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if _, err := e.Admit(limited, intKey(n)); err != nil {
			t.Errorf("a call that begins a generation: %v; %+v", err, e.journal.State())
		}
		mustClose(t, e)
		return
	}
	t.Error("the ring was never full: the test shows nothing")
}

// TestRotationWhileManifestIsWritten: what the manifest on disk names is not
// removed, though its generation left the window while the manifest was written.
func TestRotationWhileManifestIsWritten(t *testing.T) {
	clock, dir := newFakeClock(), t.TempDir()
	o := testOptions(clock)
	hook := newHookFS(persist.ManifestName)
	o.fs = hook
	e := mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 1000), dedup.Fresh)
	flushAll(t, e)
	renames := 0
	hook.set(func(op string) error {
		if op != "rename" {
			return nil
		}
		if renames++; renames > 1 {
			return errors.New("killed here")
		}
		clock.advance(10 * o.Window)
		_, err := e.Admit(ctx, intKey(5000))
		return err
	})
	clock.advance(e.opts.span())
	admitAll(t, e, intKeys(2000, 1), dedup.Fresh) // begins a generation
	eventually(t, "the second manifest", func() bool { return e.failure.Load() != nil })
	e.crash(t)
	o.fs = nil
	e = mustOpen(t, dir, o)
	mustContain(t, e, intKey(5000), true)
	mustClose(t, e)
}
