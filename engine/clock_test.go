package engine

import (
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
)

// TestI4OvertakenReader: a reader that was paused for a second or more between
// asking the source and looking at the newest time looks like a step back of the
// source. It moves the offset, and from then on the engine's time runs ahead by
// the length of the pause: keys are forgotten that much before their window (I4).
//
//	A: asks the source: 0 s
//	                           the source goes on to 60 s
//	                           B: asks the source, 60 s is the newest time
//	A: 0 s is before 60 s → "the source went back", the offset grows by 60 s
//
// TestStream missed five duplicates that way, once in many runs: its clock goes on
// by minutes a batch, and the maintenance is the overtaken reader.
func TestI4OvertakenReader(t *testing.T) {
	source := newFakeClock()
	var between func()
	var c clock
	if err := c.start(&config{Options: Options{
		Now: func() time.Time {
			now := source.now()
			if f := between; f != nil {
				between = nil
				f()
			}
			return now
		},
	}}, func(int64) int64 { return int64(24 * time.Hour) }); err != nil { // times are since 1970: none is negative
		t.Fatal(err)
	}
	began := c.read()
	between = func() {
		source.advance(time.Minute)
		c.read()
	}
	c.read()
	if passed := time.Duration(c.read() - began); passed != time.Minute {
		t.Errorf("the engine's time went on by %v, the source's by %v", passed, time.Minute)
	}
	source.advance(-time.Hour) // a real step back: time flows on from where it stood
	c.read()
	source.advance(time.Minute)
	if passed := time.Duration(c.read() - began); passed != 2*time.Minute {
		t.Errorf("after a step back the engine's time is %v on, want %v", passed, 2*time.Minute)
	}
}

// TestI4SuspendThenKill: the machine slept for three windows while the directory
// was open, and the process was killed before anything else made it write a
// manifest. The next opening must not take the sleep for time that passed since the
// mark that followed it.
func TestI4SuspendThenKill(t *testing.T) {
	wall := newFakeClock()
	o, dir := testOptions(wall), t.TempDir()
	o.passed = func() time.Duration { return 0 }
	e := mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 10), dedup.Fresh)
	wall.advance(3 * o.Window)
	admitAll(t, e, intKeys(0, 10), dedup.Duplicate)
	admitAll(t, e, intKeys(10, 10), dedup.Fresh)
	e.crash(t)
	wall.advance(time.Minute)
	e = mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 20), dedup.Duplicate)
}

// TestStepBackWritesFew: while a Now without a monotonic part is behind, time
// stands still; that is no step ahead, which each call would have to note.
func TestStepBackWritesFew(t *testing.T) {
	wall := newFakeClock()
	o := testOptions(wall)
	o.Sync = SyncNone
	e := mustOpen(t, t.TempDir(), o)
	written := func() (n uint64) {
		e.store.view(func(m *persist.Manifest) { n = m.Sequence })
		return n
	}
	wall.advance(time.Second)
	admitAll(t, e, intKeys(0, 10), dedup.Fresh)
	wall.advance(-500 * time.Millisecond)
	flushAll(t, e)
	before := written()
	for i := range 100 {
		admitAll(t, e, intKeys(100+10*i, 10), dedup.Fresh)
	}
	if n := written() - before; n > 2 {
		t.Errorf("%d manifests for 100 calls", n)
	}
}
