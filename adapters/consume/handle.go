package consume

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/firstseen/firstseen/dedup"
)

// handle runs the handlers of all items that shall run, while their leases are
// extended.
func (r *round) handle() {
	keeper, _ := r.c.keepers.Get().(*dedup.Keeper)
	if keeper == nil {
		keeper = new(dedup.Keeper)
	}
	defer r.c.keepers.Put(keeper)
	// Deferred, so that a handler which ends its goroutine leaves no timer behind.
	defer keeper.Stop()
	keeper.Start(r.ctx, r.c.guard, r.c.opts.Lease, r.claims...)
	if r.c.opts.Workers == 1 || len(r.items) == 1 {
		behind := false
		for i := range r.items {
			if behind && r.items[i].run {
				r.items[i].run = false
				r.retry(i, Behind, nil)
			} else {
				r.handleOne(keeper, i)
			}
			behind = behind || r.c.opts.Ordered && r.stops(i)
		}
		return
	}
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(r.c.opts.Workers, len(r.items)) {
		workers.Go(func() {
			for i := range next {
				r.handleOne(keeper, i)
			}
		})
	}
	for i := range r.items {
		next <- i
	}
	close(next)
	workers.Wait()
}

// stops reports whether an ordered batch ends at the item: it was not
// acknowledged, as far as that is known before the commit.
func (r *round) stops(i int) bool {
	it := &r.items[i]
	switch {
	case it.ran:
		return it.err != nil
	case it.twin >= 0:
		return r.items[it.twin].err != nil
	}
	return r.ds[i].Action == Retry
}

// handleOne runs one handler.
func (r *round) handleOne(keeper *dedup.Keeper, i int) {
	it := &r.items[i]
	if !it.run {
		return
	}
	ctx := r.ctx
	if it.claim >= 0 {
		ctx = keeper.Context(it.claim)
	}
	if ctx.Err() != nil { // stopped, or the lease was lost while others ran
		it.run, it.err = false, context.Cause(ctx)
		return
	}
	ctx, span := r.startOne(context.WithValue(ctx, workKey{}, &it.work), i)
	it.ran = true
	it.err = protect(ctx, r.msgs[i], r.h)
	if cause := context.Cause(ctx); it.err != nil && errors.Is(cause, dedup.ErrLeaseLost) && !errors.Is(it.err, cause) {
		it.err = fmt.Errorf("%w (%w)", it.err, cause)
	}
	endOne(span, it.err)
}

// protect turns a panic into an error.
func protect(ctx context.Context, m Message, h Handler) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return h(ctx, m)
}
