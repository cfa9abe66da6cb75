package engine

import (
	"context"
	"errors"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist/journal"
)

// A worker does the heavy work: snapshots, growth, merges, scrubbing, removal. It does one
// job after the other, so that none of them has to expect another one. Its loop is one
// goroutine, which Open starts and Close ends.
type worker struct {
	e *Engine
	// jobs has room for a few, so that the maintenance, which posts them, need not wait for a merge.
	jobs chan job
	// asked, of capacity 1, is full while the job of a call is in jobs. The rest is the maintenance's.
	asked chan struct{}

	// The loop's own, but for Open before it and Close after it.
	snapshotEnds map[uint64]journal.Pos // how far each generation's snapshot reaches
	damaged      map[uint64]bool        // generations that are not merged, since a merge met damage
	lookupCost   struct {               // what the last look at the cost of look-ups saw
		took uint64 // ns
		at   int64  // by the engine's clock
	}
}

// job is one piece of work; done, when not nil, gets its error.
type job struct {
	run  func() error
	done chan error // of capacity 1: who waits may have gone
}

// post gives the worker something to do. It would wait where the queue is full, and calls with it for
// what the maintenance does: snapshotting, growing and following keep the maintenance from filling it,
// asked keeps calls from it. After Close it is dropped: nothing here is needed by the
// next opening.
func (wk *worker) post(run func() error) {
	select {
	case wk.jobs <- job{run: run}:
	case <-wk.e.stop.Done():
	}
}

// do has the worker do something and waits for it. A ctx that ends ends the waiting; the job is
// done all the same. It is for calls, which hold the gate: Close comes after them, so the worker is
// there to answer.
func (wk *worker) do(ctx context.Context, run func() error) error {
	j := job{func() error { <-wk.asked; return run() }, make(chan error, 1)}
	select {
	case wk.asked <- struct{}{}:
		wk.jobs <- j
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-wk.e.stop.Done():
		return nil
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (wk *worker) loop() {
	defer wk.e.running.Done()
	idle := time.NewTicker(orDefault(wk.e.opts.workEvery, scrubEvery))
	defer idle.Stop()
	for {
		var j job
		select {
		case <-wk.e.stop.Done():
			wk.drain()
			return
		case j = <-wk.jobs:
		case <-idle.C:
			j.run = wk.idle
		}
		err := j.run()
		if j.done != nil {
			j.done <- err
		} else if err != nil && wk.e.stop.Err() == nil {
			wk.failed(err)
		}
	}
}

// drain answers those who wait for a job that will not be done.
func (wk *worker) drain() {
	for {
		select {
		case j := <-wk.jobs:
			if j.done != nil {
				j.done <- j.run()
			}
		default:
			return
		}
	}
}

// failed takes the error of a job. Most of what the worker writes can be done without, or is
// tried again, so that is a warning, with two exceptions.
func (wk *worker) failed(err error) {
	wk.e.opts.Logger.Warn("background work failed", "error", err)
	if errors.Is(err, dedup.ErrFailed) {
		wk.e.fail("background work", err) // a sync failed: what is on disk is not known (I7)
	}
	if wk.e.opts.Mode == Approximate && !errors.Is(err, dedup.ErrDiskFull) {
		// Without snapshots the journal would fill up and calls wait for ever.
		wk.e.fail("writing a snapshot", err)
	}
}

// idle is what the worker does when there are no jobs. It starts with what a full disk or an
// earlier error has left undone.
func (wk *worker) idle() error {
	e := wk.e
	if err := e.afterRotation(); err != nil {
		return err
	}
	if e.opts.Mode == Approximate {
		return nil
	}
	err := e.grow()
	if err == nil {
		err = wk.mergeDue()
	}
	e.scrubOne() // whatever became of the others
	return err
}
