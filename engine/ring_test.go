package engine

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine/inspect"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// ringOptions are those of an engine whose ring takes some hundred rotations.
func ringOptions(clock *fakeClock) config {
	o := testOptions(clock)
	o.Window, o.ringBytes, o.Sync = time.Second, 32<<10, SyncNone
	return o
}

// laps does something until the ring was filled three times over, or as often as that
// would take where it logs nothing.
func laps(t *testing.T, e *Engine, do func(i int)) {
	t.Helper()
	size := uint64(e.journal.State().RingBytes)
	from := e.journal.State().End
	for i := 0; e.journal.State().End-from < 3*size; i++ {
		if do(i); i > 20_000 && e.journal.State().End == from {
			return
		}
	}
}

// TestRingIdle: whatever alone an engine is used for, its ring's room comes back, and
// it marks keys afterwards, also when it is opened again.
func TestRingIdle(t *testing.T) {
	step := func(clock *fakeClock) { clock.advance(time.Second / 7) }
	for _, mode := range []Mode{Exact, Approximate} {
		for _, use := range []struct {
			name  string
			exact bool // only in this mode
			do    func(t *testing.T, e *Engine, clock *fakeClock, i int)
		}{
			{"a window after the other without a key", false, func(t *testing.T, e *Engine, clock *fakeClock, _ int) {
				step(clock)
				mustContain(t, e, intKey(1), false)
			}},
			{"rotations by the maintenance only", false, func(t *testing.T, e *Engine, clock *fakeClock, _ int) {
				clock.advance(e.opts.span())
				if err := e.tryRotate(e.clock.read()); err != nil {
					t.Fatal(err)
				}
			}},
			{"jumps of the clock", false, func(t *testing.T, e *Engine, clock *fakeClock, i int) {
				clock.advance(time.Hour)
				if i%2 == 0 {
					clock.advance(-2 * time.Hour)
				}
				step(clock)
				mustContain(t, e, intKey(1), false)
			}},
			{"one key is forgotten", true, func(t *testing.T, e *Engine, _ *fakeClock, _ int) {
				if err := e.Forget(ctx, intKey(1)); err != nil {
					t.Fatal(err)
				}
			}},
			{"other keys are forgotten, over many windows", true, func(t *testing.T, e *Engine, clock *fakeClock, i int) {
				if step(clock); i%10 == 0 {
					clock.advance(time.Minute)
				}
				if err := e.Forget(ctx, intKey(i)); err != nil {
					t.Fatal(err)
				}
			}},
			{"keys are claimed and released", false, func(t *testing.T, e *Engine, clock *fakeClock, i int) {
				if i%5 == 0 {
					step(clock)
				}
				if err := e.Release(ctx, mustClaim(t, e, intKey(i), dedup.Fresh)); err != nil {
					t.Fatal(err)
				}
			}},
			{"keys are claimed and left alone", false, func(t *testing.T, e *Engine, clock *fakeClock, i int) {
				step(clock)
				mustClaim(t, e, intKey(i), dedup.Fresh)
			}},
			{"keys are claimed and nothing else", false, func(t *testing.T, e *Engine, _ *fakeClock, i int) {
				mustClaim(t, e, intKey(i), dedup.Fresh)
			}},
			{"the keys of one shard", false, func(t *testing.T, e *Engine, clock *fakeClock, i int) {
				if i%50 == 0 {
					step(clock)
				}
				mustAdmit(t, e, oneShardKey(e, i))
			}},
			{"one key, marked once a window", false, func(t *testing.T, e *Engine, clock *fakeClock, i int) {
				if step(clock); i%20 == 0 {
					mustAdmit(t, e, intKey(7))
				}
			}},
		} {
			if use.exact && mode == Approximate {
				continue
			}
			t.Run(mode.String()+"/"+use.name, func(t *testing.T) {
				clock, dir := newFakeClock(), t.TempDir()
				o := ringOptions(clock)
				o.Mode, o.Lease = mode, time.Hour
				e := mustOpen(t, dir, o)
				laps(t, e, func(i int) { use.do(t, e, clock, i) })
				ringWorks(t, e, clock)
				e.crash(t)
				if v, err := inspect.Verify(ctx, dir, nil); err != nil || len(v.Damages) > 0 {
					t.Errorf("%+v, %v", v.Damages, err)
				}
				ringWorks(t, mustOpen(t, dir, o), clock)
			})
		}
	}
}

// oneShardKey is the i-th of the keys of shard 0.
func oneShardKey(e *Engine, i int) []byte {
	for n := i * 100; ; n++ {
		key := intKey(n)
		var digest [hash.DigestLen]byte
		if e.hasher.Sum(key, &digest).Hi>>62 == 0 { // of four shards
			return key
		}
	}
}

// ringWorks marks keys in the generations that follow, each at once a duplicate.
func ringWorks(t *testing.T, e *Engine, clock *fakeClock) {
	t.Helper()
	for range 10 {
		clock.advance(3 * time.Second)
		keys := intKeys(5_000_000, 100)
		admitAll(t, e, keys, dedup.Fresh)
		admitAll(t, e, keys, dedup.Duplicate)
	}
}

// TestRingFull: a directory whose ring was filled with frames that are in no table, when
// only a flush gave room back, opens and works, and Verify tells of it before.
func TestRingFull(t *testing.T) {
	for _, clean := range []bool{true, false} {
		for _, marked := range []bool{true, false} {
			clock, dir := newFakeClock(), t.TempDir()
			o := ringOptions(clock)
			fillRing(t, dir, o, clock, clean)
			v, err := inspect.Verify(ctx, dir, nil)
			if err != nil || len(v.Damages) != 1 || v.Damages[0].Fatal || !strings.Contains(v.Damages[0].Detail, "ring is full") {
				t.Errorf("verify says %+v, %v", v.Damages, err)
			}
			e := mustOpen(t, dir, o)
			if marked {
				admitAll(t, e, intKeys(0, 10), dedup.Fresh)
			}
			ringWorks(t, e, clock)
			mustClose(t, e)
			if v, err := inspect.Verify(ctx, dir, nil); err != nil || len(v.Damages) > 0 {
				t.Errorf("afterwards verify says %+v, %v", v.Damages, err)
			}
		}
	}
}

// fillRing fills a new directory's ring with rotations. None of its manifests says that
// they are no longer needed: those of early versions said it after a flush only.
func fillRing(t *testing.T, dir string, o config, clock *fakeClock, clean bool) {
	t.Helper()
	manifest := newHookFS("MANIFEST.tmp")
	o.fs = manifest
	e := mustOpen(t, dir, o)
	goOn := make(chan struct{}) // a manifest would give room back
	goOnce := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(goOnce)
	manifest.set(func(string) error {
		<-goOn
		return nil
	})
	tail := e.journal.State().End
	for e.journal.Reserve(canceled, journal.RotationSpace(o.Generations+1)) == nil {
		e.journal.Unreserve(journal.RotationSpace(o.Generations + 1))
		clock.advance(o.Window / 7)
		mustContain(t, e, intKey(1), false)
	}
	if err := e.journal.Sync(); err != nil { // a kill leaves what was written
		t.Fatal(err)
	}
	goOnce()
	if clean {
		mustClose(t, e)
	} else {
		e.crash(t)
	}
	m, err := persist.ReadManifest(vfs.OS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	m.Tail = tail
	if err := persist.WriteManifest(vfs.OS(), dir, m); err != nil {
		t.Fatal(err)
	}
}

// TestRingTail: the manifest that a rotation writes lets go of every frame of before, but
// for those whose keys are in no run yet.
func TestRingTail(t *testing.T) {
	clock, dir := newFakeClock(), t.TempDir()
	o := ringOptions(clock)
	o.ringBytes = 4 << 20 // no room is short
	e := mustOpen(t, dir, o)
	for _, keys := range []int{0, 100} { // without a key there is no flush that would do it
		admitAll(t, e, intKeys(0, keys), dedup.Fresh)
		for range 50 {
			clock.advance(o.Window / 4)
			mustContain(t, e, intKey(100), false)
		}
		end := e.journal.State().End
		eventually(t, "the rotations are in the manifest", func() bool {
			tail := journal.Pos(0)
			e.store.view(func(m *persist.Manifest) { tail = m.Tail })
			if tail >= end {
				return true
			}
			// The last manifest may be a flush's that read the tail before the last rotation,
			// while the rotation's own still had to keep the frames of the flushed keys.
			clock.advance(o.Window / 4)
			mustContain(t, e, intKey(100), false)
			return false
		})
	}
	clock.advance(o.Window)
	admitAll(t, e, intKeys(0, 100), dedup.Fresh)
	if err := e.persistMoment(); err != nil {
		t.Fatal(err)
	}
	e.crash(t)
	e = mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 100), dedup.Duplicate)
}
