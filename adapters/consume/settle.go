package consume

import (
	"context"
	"errors"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// settle ends the claims of the round: one Commit for those whose handlers
// succeeded, one Release for the others. Neither depends on the caller's context:
// the effects have happened, and the keys must not stay claimed.
func (r *round) settle() {
	var done, failed []int // items
	for i := range r.items {
		it := &r.items[i]
		switch holds := it.work.claim.Verdict == dedup.Fresh; {
		case !it.open:
			if r.ds[i].Reason == Behind && holds {
				failed = append(failed, i)
			}
		case it.twin >= 0:
		case it.ran && it.err == nil && (!holds || it.work.committed):
			r.handled(i, nil)
		case it.ran && it.err == nil:
			done = append(done, i)
		default:
			if holds && !it.work.committed {
				failed = append(failed, i)
			}
			r.failed(i)
		}
	}
	if done == nil && failed == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), r.c.opts.EndTimeout)
	defer cancel()
	r.commit(ctx, done)
	r.release(ctx, failed)
}

// claimsOf returns the claims of items, with the results that their handlers set.
func (r *round) claimsOf(items []int) []dedup.Claim {
	claims := make([]dedup.Claim, len(items))
	for n, i := range items {
		claims[n] = r.items[i].work.Claim()
	}
	return claims
}

// Pauses between tries of a commit.
const (
	commitPause    = 20 * time.Millisecond
	commitPauseMax = time.Second
)

// commit marks the keys of items. An error of the whole call leaves open whether
// it was done, so it is tried again: a claim that is lost then may have been
// committed by the try before.
func (r *round) commit(ctx context.Context, items []int) {
	if items == nil {
		return
	}
	claims := r.claimsOf(items)
	var err, whole error
	for pause := commitPause; ; pause = min(2*pause, commitPauseMax) {
		err = r.c.guard.Commit(ctx, claims...)
		if whole = wholeCall(err); whole == nil || !worthAnotherTry(ctx, whole, pause) {
			break
		}
	}
	var lost []int
	for n, i := range items {
		switch one := itemError(err, n); {
		case errors.Is(one, dedup.ErrLeaseLost):
			lost = append(lost, i)
		case whole != nil && !claims[n].Unguarded:
			r.notMarked(i, NotMarked, claims[n].Expires, whole)
		default:
			r.handled(i, one)
		}
	}
	r.ask(ctx, lost)
}

// worthAnotherTry waits before the next try of a commit, or reports that there
// is no point in one.
func worthAnotherTry(ctx context.Context, err error, pause time.Duration) bool {
	for _, final := range []error{dedup.ErrClosed, dedup.ErrFailed, dedup.ErrUnsupported} {
		if errors.Is(err, final) {
			return false
		}
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ask settles items whose handlers succeeded and whose claims are lost. Their
// effects have happened, so a mark is right whoever makes it: where the key is
// fresh again, because the other holder gave up, it is marked here.
func (r *round) ask(ctx context.Context, items []int) {
	if items == nil {
		return
	}
	keys := make([][]byte, len(items))
	for n, i := range items {
		keys[n] = r.items[i].work.claim.Key
	}
	again, err := r.c.guard.ClaimBatch(ctx, nil, keys)
	if wholeCall(err) == nil {
		for n := range again {
			again[n].Result = r.items[items[n]].work.result
		}
		err = r.c.guard.Commit(ctx, again...)
	}
	for n, i := range items {
		v := again[n].Verdict
		if v == dedup.Duplicate || v == dedup.Fresh && wholeCall(err) == nil && !errors.Is(itemError(err, n), dedup.ErrLeaseLost) {
			r.c.counts.of(r.items[i].scope).lateMarks.Add(1)
			r.handled(i, nil)
			continue
		}
		r.notMarked(i, LeaseLost, again[n].Expires, errors.Join(dedup.ErrLeaseLost, wholeCall(err)))
	}
}

// release gives the claims of items up. What goes wrong costs time only: the
// leases end by themselves.
func (r *round) release(ctx context.Context, items []int) {
	if items == nil {
		return
	}
	err := r.c.guard.Release(ctx, r.claimsOf(items)...)
	if whole := wholeCall(err); whole != nil {
		r.c.opts.Logger.WarnContext(r.ctx, "consume: keys of failed messages stay claimed until their leases end",
			"keys", len(items), "error", whole)
	}
}

// handled acknowledges an item whose effect has happened.
func (r *round) handled(i int, err error) {
	r.ds[i].Result = r.items[i].work.result
	r.decide(i, Ack, Handled, err)
}

// failed decides about an item whose handler did not succeed, or did not run
// though it should have.
func (r *round) failed(i int) {
	it := &r.items[i]
	var panicked *PanicError
	switch {
	case errors.As(it.err, &panicked):
		r.c.opts.Logger.ErrorContext(r.ctx, "consume: a handler panicked", "topic", it.scope.Topic, "error", it.err)
		r.retry(i, Panicked, it.err)
	case errors.Is(it.err, ErrReject):
		r.decide(i, Reject, Failed, it.err)
	case errors.Is(it.err, dedup.ErrLeaseLost):
		r.retry(i, LeaseLost, it.err)
	case it.ran:
		r.retry(i, Failed, it.err)
	default:
		r.retry(i, Stopped, it.err)
	}
}

// notMarked decides about an item whose effect has happened and whose key could
// not be marked; it is in flight until that time. On its last delivery it is
// acknowledged all the same: the dead letters are for what was not handled.
func (r *round) notMarked(i int, why Reason, until time.Time, err error) {
	r.c.opts.Logger.WarnContext(r.ctx, "consume: a message was handled and its key is not marked: it may be handled again",
		"topic", r.items[i].scope.Topic, "reason", why.String(), "error", err)
	if r.c.opts.Observe || r.msgs[i].LastDelivery {
		r.ds[i].Result = r.items[i].work.result
		r.decide(i, Ack, why, err)
		return
	}
	r.retryAt(i, why, until, err)
}
