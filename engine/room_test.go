package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// onWarning is a slog.Handler that calls do at each warning.
type onWarning struct {
	slog.Handler
	do func()
}

func (h onWarning) Enabled(context.Context, slog.Level) bool { return true }

func (h onWarning) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		h.do()
	}
	return nil
}

// endsAtWait is a context that ends as soon as somebody waits for its end.
type endsAtWait struct {
	context.Context
	cancel context.CancelFunc
}

func newEndsAtWait() endsAtWait {
	c, cancel := context.WithCancel(ctx)
	return endsAtWait{c, cancel}
}

func (c endsAtWait) Done() <-chan struct{} {
	c.cancel()
	return c.Context.Done()
}

// openFull opens an engine whose flush does not get on before its end, and fills its tables: every
// call that marks has to wait for memory.
func openFull(t *testing.T, o config) *Engine {
	t.Helper()
	let := make(chan struct{})
	o.Shards = 1
	o.phase = func(name string) func() {
		if name == "flush" {
			<-let
		}
		return func() {}
	}
	e := mustOpen(t, t.TempDir(), o)
	t.Cleanup(func() { close(let) }) // before the engine closes
	for i := 0; ; i += 100 {
		switch _, err := e.AdmitBatch(newEndsAtWait(), nil, intKeys(i, 100)); {
		case errors.Is(err, context.Canceled):
			return e
		case err != nil:
			t.Fatal(err)
		}
	}
}

// TestDiskFullTwice: the maintenance finds room while the flusher says that there is none. Calls that
// wait for memory are told the same in the end as those that begin.
func TestDiskFullTwice(t *testing.T) {
	var e *Engine
	o := testOptions(nil)
	o.Logger = slog.New(onWarning{slog.DiscardHandler, func() { e.setDiskFull(false) }})
	e = openFull(t, o)
	e.setDiskFull(true)
	if e.diskFull.Load() {
		t.Fatal("no room was found during the warning: the test shows nothing")
	}
	if _, err := e.Admit(newEndsAtWait(), intKey(-1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that waits for memory: %v, want it to wait", err)
	}
}

// TestI7FailureAtFullDisk: a full disk that is noticed just after a failure does not hide it from a
// call that waits for memory.
func TestI7FailureAtFullDisk(t *testing.T) {
	e := openFull(t, testOptions(nil))
	waits := e.Stats().Flush.Waits
	told := make(chan error, 1)
	go func() {
		_, err := e.Admit(ctx, intKey(-1))
		told <- err
	}()
	eventually(t, "the call waits", func() bool { return e.Stats().Flush.Waits > waits })
	failed := fmt.Errorf("%w: no", dedup.ErrFailed)
	e.failure.Store(&failed) // as fail does before it refuses anybody
	e.setDiskFull(true)
	if err := receive(t, "the call is refused", told); !errors.Is(err, dedup.ErrFailed) {
		t.Errorf("the call got %v, want the failure", err)
	}
}
