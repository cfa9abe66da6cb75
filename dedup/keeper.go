package dedup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// keeperFloor is the shortest pause between two tries to extend a lease. Tries
// come closer together as the end comes nearer; this ends the series.
const keeperFloor = 10 * time.Millisecond

// A Keeper extends the leases of claims while handlers work on them, and ends
// the handlers' contexts when a lease is lost. The zero value is ready. A Keeper
// serves one call of Start at a time and can be used again after Stop; Context
// may be called by any number of goroutines in between.
//
// A lease is extended when a third of it has passed. Where that fails for
// another reason than ErrLeaseLost, it is tried again, sooner each time, until
// the lease has ended by the caller's clock; then it counts as lost.
//
// Handlers that are done before the first renewal cost one timer: Start, Stop
// and a used Keeper allocate nothing, and no goroutine is started.
type Keeper struct {
	guard Guard
	lease time.Duration
	ctx   context.Context // of Start; it ends handlers, never a renewal
	timer *time.Timer
	first [1]heldClaim // room for what most calls of Start give
	// work counts the round that is due or under way. Rounds follow each other,
	// so it is 0 or 1, but for the moment in which one arms the next.
	work sync.WaitGroup

	mu struct {
		sync.Mutex
		held []heldClaim        // one for each claim of Start; the claims change only in rounds
		stop context.CancelFunc // of the round under way, or nil
		on   bool               // between Start and Stop
	}
}

type heldClaim struct {
	claim Claim
	ctx   *handling // nil until somebody asks for it
	lost  error
}

// Start begins to extend claims by lease, or by the guard's own lease where
// lease is 0. Claims that nobody holds (their Verdict is not Fresh, or they are
// Unguarded) are left alone. The claims are copied, their keys are not. Start
// panics when it is called a second time before Stop.
func (k *Keeper) Start(ctx context.Context, g Guard, lease time.Duration, claims ...Claim) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.on {
		panic("dedup: Keeper.Start before Stop")
	}
	k.mu.on, k.ctx, k.guard, k.lease = true, ctx, g, lease
	if k.mu.held == nil {
		k.mu.held = k.first[:0]
	}
	for _, c := range claims {
		k.mu.held = append(k.mu.held, heldClaim{claim: c})
	}
	k.armLocked()
}

// Context returns the context for the handler of the claim at position i of
// Start. It ends with the context of Start, at Stop, or when the claim's lease
// is lost; then [context.Cause] is an error that wraps ErrLeaseLost.
func (k *Keeper) Context(i int) context.Context {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := &k.mu.held[i]
	if h.ctx == nil {
		h.ctx = &handling{parent: k.ctx}
		if h.lost != nil {
			h.ctx.end(h.lost)
		}
	}
	return h.ctx
}

// Stop ends the renewals and the contexts that Context returned. When it
// returns, no call of the guard is under way. Call it before Commit or Release.
// A Keeper that was not started, or is stopped already, is left as it is.
func (k *Keeper) Stop() {
	k.mu.Lock()
	if !k.mu.on {
		k.mu.Unlock()
		return
	}
	k.mu.on = false
	if k.timer != nil && k.timer.Stop() {
		k.work.Done() // the round that was due will not run
	}
	if k.mu.stop != nil {
		k.mu.stop()
	}
	k.mu.Unlock()
	k.work.Wait() // a round that has begun sees that on is false

	for i := range k.mu.held {
		if h := &k.mu.held[i]; h.ctx != nil {
			h.ctx.end(nil)
		}
	}
	clear(k.mu.held)
	k.mu.held, k.ctx, k.guard = k.mu.held[:0], nil, nil
}

// armLocked sets the timer for the next round, if there is anything to extend.
func (k *Keeper) armLocked() {
	var wait time.Duration
	any := false
	for i := range k.mu.held {
		h := &k.mu.held[i]
		if !h.extendable() {
			continue
		}
		if left := time.Until(h.claim.Expires) / 3; !any || left < wait {
			wait, any = left, true
		}
	}
	if !any {
		return
	}
	k.work.Add(1)
	wait = max(wait, keeperFloor)
	if k.timer == nil {
		k.timer = time.AfterFunc(wait, k.round) // stopped in Stop
	} else {
		k.timer.Reset(wait)
	}
}

func (h *heldClaim) extendable() bool {
	return h.lost == nil && h.claim.Verdict == Fresh && !h.claim.Unguarded
}

// round extends every lease once and arms the timer for the next round. The
// goroutine of the timer runs it; Stop ends it.
func (k *Keeper) round() {
	defer k.work.Done()
	k.mu.Lock()
	if !k.mu.on {
		k.mu.Unlock()
		return
	}
	// A handler whose caller has gone still works until it notices, and holds
	// its key until then.
	ctx, stop := context.WithCancel(context.WithoutCancel(k.ctx))
	defer stop()
	k.mu.stop = stop
	n := len(k.mu.held)
	k.mu.Unlock()

	for i := 0; i < n && ctx.Err() == nil; i++ {
		k.extend(ctx, i)
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.stop = nil
	if k.mu.on {
		k.armLocked()
	}
}

// extend extends the lease of claim i, without the lock. Only a round writes
// claim and lost, and rounds follow each other, so it may read them.
func (k *Keeper) extend(ctx context.Context, i int) {
	h := &k.mu.held[i]
	if !h.extendable() {
		return
	}
	// Half of what is left, so that a hanging call leaves time for another one.
	call, cancel := context.WithTimeout(ctx, max(time.Until(h.claim.Expires)/2, keeperFloor))
	defer cancel()
	c, err := k.guard.Extend(call, h.claim, k.lease)
	if err == nil {
		h.claim.Expires = c.Expires
		return
	}
	if !errors.Is(err, ErrLeaseLost) && time.Now().Before(h.claim.Expires) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.mu.on {
		return // the handler is done, Commit or Release will tell
	}
	h.lost = fmt.Errorf("%w, it could not be extended: %w", &LeaseError{Index: i}, err)
	if h.ctx != nil {
		h.ctx.end(h.lost)
	}
}
