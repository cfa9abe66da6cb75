package engine

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// panicking is a slog.Handler that panics at everything while it is on.
type panicking struct{ on *atomic.Bool }

func (h panicking) panics() {
	if h.on.Load() {
		panic("no logger")
	}
}

func (h panicking) Enabled(context.Context, slog.Level) bool {
	h.panics()
	return true
}

func (h panicking) Handle(context.Context, slog.Record) error {
	h.panics()
	return nil
}

func (h panicking) WithAttrs([]slog.Attr) slog.Handler {
	h.panics()
	return h
}

func (h panicking) WithGroup(string) slog.Handler {
	h.panics()
	return h
}

// TestPanickingCalls: code of the caller's that panics, in the foreground or behind it,
// stops nothing: every call answers, and Close comes to its end.
func TestPanickingCalls(t *testing.T) {
	for _, mode := range []Mode{Exact, Approximate} {
		clock, on := newFakeClock(), new(atomic.Bool)
		o := testOptions(clock)
		o.Mode, o.Logger = mode, slog.New(panicking{on})
		o.Now = func() time.Time {
			if on.Load() {
				panic("no clock")
			}
			return clock.now()
		}
		dir := t.TempDir()
		e := mustOpen(t, dir, o)
		keys := intKeys(0, 100)
		admitAll(t, e, keys[:50], dedup.Fresh)
		on.Store(true)
		clock.advance(time.Hour) // which nobody sees
		admitAll(t, e, keys[50:], dedup.Fresh)
		admitAll(t, e, keys, dedup.Duplicate)
		c := mustClaim(t, e, []byte("claimed"), dedup.Fresh)
		e.setDiskFull(true) // something to log
		e.setDiskFull(false)
		if err := e.Commit(ctx, c); err != nil {
			t.Error(err)
		}
		if err := e.persistMoment(); err != nil {
			t.Error(err)
		}
		on.Store(false)
		clock.advance(3 * time.Hour) // a generation is over
		admitAll(t, e, keys, dedup.Duplicate)
		on.Store(true)
		closed := make(chan error, 1)
		go func() { closed <- e.Close() }()
		if err := receive(t, "the close", closed); err != nil {
			t.Error(err)
		}
		if _, err := openWith(dir, o); err == nil {
			t.Error("opened with a clock that panics")
		}
		on.Store(false)
		admitAll(t, mustOpen(t, dir, o), keys, dedup.Duplicate)
	}
}
