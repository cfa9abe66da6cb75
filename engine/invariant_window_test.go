package engine

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist"
)

// TestI4Retention: a key is remembered for at least the window and at most for
// the window and one generation's span, whenever in a generation it was marked,
// with the clock running in small steps or standing still in between.
func TestI4Retention(t *testing.T) {
	for _, mode := range []Mode{Exact, Approximate} {
		for _, generations := range []int{3, 5, 8} {
			t.Run(mode.String()+"/"+string(rune('0'+generations)), func(t *testing.T) {
				clock := newFakeClock()
				o := testOptions(clock)
				o.Mode, o.Generations, o.BitsPerKey = mode, generations, 40
				e := mustOpen(t, t.TempDir(), o)
				span := e.opts.span()
				// Keys marked at every eighth of a span, looked at in all of them.
				step := span / 8
				steps := int(o.Window/step) + 3*8
				for now := range 2 * steps {
					admitAll(t, e, intKeys(now, 1), dedup.Fresh)
					for at := range now + 1 {
						age := time.Duration(now-at) * step
						ok, err := e.Contains(ctx, intKey(at))
						if err != nil {
							t.Fatal(err)
						}
						if !ok && age < o.Window {
							t.Fatalf("a key of age %v is forgotten, the window is %v", age, o.Window)
						}
						if ok && age >= o.Window+span {
							t.Fatalf("a key of age %v is remembered, the window is %v and %v", age, o.Window, span)
						}
					}
					clock.advance(step)
				}
			})
		}
	}
}

// TestI4ClockSteps: steps of the clock lose nothing that is younger than the
// window, and a step back does not stop the time.
func TestI4ClockSteps(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(clock)
	dir := t.TempDir()
	e := mustOpen(t, dir, o)
	span := e.opts.span()
	admitAll(t, e, intKeys(0, 10), dedup.Fresh)
	before := e.clock.read()

	clock.advance(-100 * o.Window) // back, by far
	admitAll(t, e, intKeys(0, 10), dedup.Duplicate)
	if now := e.clock.read(); now < before {
		t.Errorf("the engine's time went back by %v", time.Duration(before-now))
	}
	clock.advance(o.Window - time.Minute) // time flows on from where it stood
	admitAll(t, e, intKeys(0, 10), dedup.Duplicate)
	admitAll(t, e, intKeys(10, 10), dedup.Fresh)
	clock.advance(span + 2*time.Minute)
	admitAll(t, e, intKeys(0, 10), dedup.Fresh)
	admitAll(t, e, intKeys(10, 10), dedup.Duplicate)

	// Back across a restart: the time that was persisted counts.
	last := e.clock.read()
	mustClose(t, e)
	clock.advance(-o.Window / 2)
	e = mustOpen(t, dir, o)
	if now := e.clock.read(); now < last {
		t.Errorf("the engine's time went back over a restart by %v", time.Duration(last-now))
	}
	admitAll(t, e, intKeys(0, 20), dedup.Duplicate)

	// Forward across a restart: what is older goes, what is younger stays.
	mustClose(t, e)
	clock.advance(o.Window - time.Minute)
	e = mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 10), dedup.Duplicate)
	clock.advance(10 * o.Window)
	admitAll(t, e, intKeys(0, 20), dedup.Fresh)
	admitAll(t, e, intKeys(0, 20), dedup.Duplicate)
}

// TestI4StepWhileOpen: the wall was set forward while the directory was open; the
// time that passed since is what counts at the next opening.
func TestI4StepWhileOpen(t *testing.T) {
	clock := newFakeClock()
	o, dir := testOptions(clock), t.TempDir()
	e := mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 10), dedup.Fresh)
	mustClose(t, e)
	// A fake clock has no monotonic part that would not have followed the step, so
	// the manifest is made to say what it says then.
	m, err := persist.ReadManifest(vfs.OS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	m.Wall += int64(3 * o.Window)
	if err := persist.WriteManifest(vfs.OS(), dir, m); err != nil {
		t.Fatal(err)
	}
	clock.advance(3*o.Window + o.Window/2)
	e = mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 10), dedup.Duplicate)
	clock.advance(o.Window)
	admitAll(t, e, intKeys(0, 10), dedup.Fresh)
}

// TestI4CrashKeepsTime: the newest frame's time counts after a crash, though no
// manifest was written since.
func TestI4CrashKeepsTime(t *testing.T) {
	clock := newFakeClock()
	o, dir := testOptions(clock), t.TempDir()
	e := mustOpen(t, dir, o)
	for i := range 6 {
		clock.advance(o.Window / 8)
		admitAll(t, e, intKeys(10*i, 10), dedup.Fresh)
	}
	last := e.clock.read()
	e.crash(t)
	clock.advance(-o.Window)
	e = mustOpen(t, dir, o)
	if now := e.clock.read(); now < last {
		t.Errorf("the engine's time went back over a crash by %v", time.Duration(last-now))
	}
	admitAll(t, e, intKeys(0, 60), dedup.Duplicate)
}

// TestI4JumpForward: a jump over many windows retires one generation after the
// other, not slots that are in use, and the numbers go on.
func TestI4JumpForward(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(clock)
	e := mustOpen(t, t.TempDir(), o)
	for round := range 30 {
		keys := intKeys(100*round, 100)
		admitAll(t, e, keys, dedup.Fresh)
		admitAll(t, e, keys, dedup.Duplicate)
		gs := e.window.held()
		for i := 1; i < len(gs); i++ {
			if gs[i].number != gs[i-1].number+1 || gs[i-1].end > gs[i].start || gs[i-1].end <= gs[i-1].start {
				t.Fatalf("generations %+v", gs)
			}
		}
		if len(gs) > o.Generations {
			t.Fatalf("%d generations are held, there are %d slots", len(gs), o.Generations)
		}
		// 1/8 of a span up to many windows
		clock.advance(e.opts.span() / 8 << (round % 10))
	}
}

// TestOtherWindow: a directory opened with another window keeps what is younger
// than the shorter of the two.
func TestOtherWindow(t *testing.T) {
	clock := newFakeClock()
	o, dir := testOptions(clock), t.TempDir()
	e := mustOpen(t, dir, o)
	for i := range 4 {
		admitAll(t, e, intKeys(10*i, 10), dedup.Fresh)
		clock.advance(o.Window / 4)
	}
	mustClose(t, e)
	longer := o
	longer.Window *= 3
	e = mustOpen(t, dir, longer)
	clock.advance(longer.Window - o.Window - time.Minute)
	admitAll(t, e, intKeys(0, 40), dedup.Duplicate) // all of them were still there
	mustClose(t, e)
	shorter := o
	shorter.Window /= 2
	e = mustOpen(t, dir, shorter)
	admitAll(t, e, intKeys(1000, 10), dedup.Fresh)
	clock.advance(shorter.Window - time.Minute)
	admitAll(t, e, intKeys(1000, 10), dedup.Duplicate)
	clock.advance(longer.Window)
	admitAll(t, e, intKeys(1000, 10), dedup.Fresh)
}

// TestExpiryFreesDisk: after three windows of steady traffic the directory is no
// larger than after one, within a generation, and holds no more segments.
func TestExpiryFreesDisk(t *testing.T) {
	clock := newFakeClock()
	o, dir := testOptions(clock), t.TempDir()
	o.Sync, o.tableKeys, o.ringBytes = SyncNone, 2000, 1<<20
	e := mustOpen(t, dir, o)
	const perSpan = 20_000
	next := 0
	window := func(spans int) {
		for range spans {
			for range 10 {
				clock.advance(e.opts.span() / 10)
				admitAll(t, e, intKeys(next, perSpan/10), dedup.Fresh)
				next += perSpan / 10
			}
		}
		flushAll(t, e)
	}
	state := ""
	settled := func() bool {
		dirs, err := segmentDirs(dir)
		gs := e.Stats().Generations
		sealed := gs[:len(gs)-1]
		done := err == nil && dirs <= o.Generations+1 && len(gs) >= o.Generations-1
		for _, g := range sealed {
			done = done && g.Runs > 0
		}
		state = fmt.Sprintf("%d segments, %d generations, %d KB", dirs, len(gs), sizeOf(dir)>>10)
		return done
	}
	defer func() { t.Log(state) }()
	window(o.Generations) // one window and the live generation
	eventually(t, "the first window is on disk", settled)
	first := sizeOf(dir)
	if least := int64(14 * perSpan * (o.Generations - 1)); first < least {
		t.Fatalf("a window takes %d bytes, its keys alone %d: the test shows nothing", first, least)
	}
	window(2 * (o.Generations - 1))
	generation := int64(16 * perSpan * 5 / 4)
	eventually(t, "what is out of the window has left the disk", func() bool {
		return settled() && sizeOf(dir) <= first+generation
	})
	t.Logf("after one window %d KB, after three %d KB", first>>10, sizeOf(dir)>>10)
}

// TestRetiredFilesGo: a flush that comes between a retirement and the worker's
// part of it writes a manifest without the retired generations; their files go
// all the same. A rotation seals tables, so a flush nearly always follows one.
func TestRetiredFilesGo(t *testing.T) {
	clock := newFakeClock()
	o, dir := testOptions(clock), t.TempDir()
	e := mustOpen(t, dir, o)
	for i := range 4 {
		admitAll(t, e, intKeys(1000*i, 1000), dedup.Fresh)
		flushAll(t, e)
		clock.advance(e.opts.span())
	}
	admitAll(t, e, intKeys(10_000, 10), dedup.Fresh)
	if err := e.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	if names, err := filepath.Glob(filepath.Join(dir, "filter-*.snap")); err != nil || len(names) < 4 {
		t.Fatalf("snapshots: %v, %v", names, err)
	}
	busy, let := make(chan struct{}), make(chan struct{})
	letOnce := sync.OnceFunc(func() { close(let) })
	defer letOnce()
	e.worker.post(func() error { close(busy); <-let; return nil })
	receive(t, "the worker is busy", busy)
	clock.advance(2 * o.Window)
	admitAll(t, e, intKeys(20_000, 10), dedup.Fresh) // all of them are retired
	flushAll(t, e)
	letOnce()
	eventually(t, "the files of the retired generations are gone", func() bool {
		names, err := persist.ListSnapshots(e.fs, dir)
		ids, err2 := persist.ListSegmentDirs(dir)
		return err == nil && err2 == nil && (len(names) == 0 || names[0] >= e.set.Oldest()) && len(ids) <= 2
	})
}

// sizeOf is what a directory takes on disk while files in it come and go.
func sizeOf(dir string) int64 {
	for {
		if n, err := vfs.DiskBytes(dir); err == nil {
			return n
		}
	}
}
