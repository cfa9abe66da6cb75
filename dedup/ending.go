package dedup

import (
	"context"
	"sync"
	"time"
)

// An ending is the context for the end of a claim: it has the values of its parent and
// a limit of its own. It makes the context that can end, with its timer, for a guard
// that asks: the engine asks where it has to wait, so that most ends of a claim need
// none (BenchmarkDo: four allocations and a timer less).
type ending struct {
	parent context.Context
	until  time.Time
	once   sync.Once
	ctx    context.Context // set by once
	cancel context.CancelFunc
}

func (e *ending) real() context.Context {
	e.once.Do(func() {
		e.ctx, e.cancel = context.WithDeadline(context.WithoutCancel(e.parent), e.until)
	})
	return e.ctx
}

// stop ends the context. A guard that asks for the first time afterwards gets one that
// has ended.
func (e *ending) stop() {
	e.once.Do(func() { e.ctx, e.cancel = stopped, func() {} })
	e.cancel()
}

var stopped = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func (e *ending) Deadline() (time.Time, bool) { return e.until, true }
func (e *ending) Done() <-chan struct{}       { return e.real().Done() }
func (e *ending) Err() error                  { return e.real().Err() }
func (e *ending) Value(key any) any           { return e.real().Value(key) }
