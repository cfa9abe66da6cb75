package httpidem

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// A run is one handler at work on a claim.
type run struct {
	*request
	claim   dedup.Claim
	keep    dedup.Keeper
	unwatch func() bool // of the lease; before keep.Stop, which would look like its loss
	rec     *recorder
	ended   bool // the claim was committed or released, or nobody knows
}

// run runs the handler and ends the claim. The client gets its answer when the
// key is marked, and not before.
func (q *request) run(claim dedup.Claim) {
	u := &run{request: q, claim: claim}
	if !u.begin() {
		return
	}
	q.m.counts.run.Add(1)
	u.rec = newRecorder(q.w, q.m.o.MaxAnswer, u.letThrough)
	ctx, cancel := context.WithCancelCause(q.r.Context())
	defer cancel(nil)
	u.keep.Start(context.WithoutCancel(ctx), q.m.guard, 0, claim)
	lease := u.keep.Context(0)
	u.unwatch = context.AfterFunc(lease, func() { cancel(context.Cause(lease)) })
	done := false
	defer func() {
		u.stopKeeping()
		if !done {
			u.abandon()
		}
	}()
	q.next.ServeHTTP(u.rec, q.r.WithContext(ctx))
	done = true
	u.finish()
}

// stopKeeping ends the renewals of the lease. The handler's context goes on: one
// that streams has its key marked and works on.
func (u *run) stopKeeping() {
	u.unwatch()
	u.keep.Stop()
}

// begin notes the intent, where intents are kept, and says whether to go on.
func (u *run) begin() bool {
	if u.m.o.Intents == nil {
		return true
	}
	ctx, cancel := u.ending()
	defer cancel()
	in := Intent{Key: u.key, Name: u.name, Begun: time.Now(), Fingerprint: u.fingerprint}
	prior, err := u.m.o.Intents.Begin(ctx, in)
	if err == nil {
		return true
	}
	if errors.Is(err, ErrInDoubt) {
		return u.settle(prior)
	}
	u.release()
	u.storeDown(err)
	return false
}

// settle deals with an intent that was there before, and says whether to run.
func (u *run) settle(prior Intent) bool {
	o := prior.Outcome
	if o.Kind == InDoubt && u.m.o.Settle != nil {
		var err error
		if o, err = u.m.o.Settle(u.r, prior); err != nil {
			u.m.o.Logger.Error("httpidem: settling an intent", "request", prior.Name, "error", err)
			o = Outcome{}
		}
	}
	ctx, cancel := u.ending()
	defer cancel()
	switch {
	case o.Kind == NeverHappened:
		err := u.m.o.Intents.End(ctx, u.key)
		if err == nil {
			_, err = u.m.o.Intents.Begin(ctx, Intent{Key: u.key, Name: u.name, Begun: time.Now(), Fingerprint: u.fingerprint})
		}
		if err != nil {
			u.release()
			u.storeDown(err)
		}
		return err == nil
	case o.Kind == Happened && CheckOutcome(o) == nil:
		a := answer{state: settled, fingerprint: prior.Fingerprint}
		if o.Status != 0 {
			a = answer{state: stored, fingerprint: prior.Fingerprint, status: o.Status, header: http.Header{}, body: o.Body}
			a.header.Set("Content-Type", o.ContentType)
		}
		if u.commit(a) {
			u.replay(dedup.Claim{Result: a.encode(u.m.o.Headers)}, nil)
		}
		return false
	}
	u.release()
	u.m.counts.inDoubt.Add(1)
	Problem{
		TypeInDoubt, "Outcome in doubt", http.StatusConflict,
		"the service stopped while it worked on a request with this idempotency key; until its outcome is settled it is neither run again nor answered",
	}.write(u.w)
	return false
}

// letThrough marks the key of an answer that can't be kept back.
func (u *run) letThrough(status int, why answerState) bool {
	if status != http.StatusSwitchingProtocols && !u.m.o.Storable(status) {
		return true // finish releases the key
	}
	return u.commit(answer{state: why, fingerprint: u.fingerprint})
}

// finish ends the claim of a handler that has returned, and sends its answer.
func (u *run) finish() {
	status := u.rec.statusOr200()
	if u.ended {
		return // letThrough has marked the key, or told the client why not
	}
	if !u.m.o.Storable(status) {
		u.m.counts.notFinal.Add(1)
		u.stopKeeping()
		u.release()
		u.endIntent()
		if !u.rec.passing {
			u.rec.send()
		}
		return
	}
	a := answer{state: stored, fingerprint: u.fingerprint, status: status, header: u.rec.header, body: u.rec.body}
	if u.commit(a) {
		u.rec.send()
	}
}

// commit marks the key with the answer. Where it can't, the client is told, and
// commit returns false.
func (u *run) commit(a answer) bool {
	if u.unwatch != nil {
		u.stopKeeping()
	}
	u.ended = true
	claim := u.claim
	claim.Result = a.encode(u.m.o.Headers)
	ctx, cancel := u.ending()
	defer cancel()
	err := u.m.guard.Commit(ctx, claim)
	switch {
	case err == nil:
	case errors.Is(err, dedup.ErrResultTooLarge):
		u.m.o.Logger.Warn("httpidem: the guard keeps shorter results than MaxAnswer", "request", u.name, "bytes", len(claim.Result))
	case errors.Is(err, dedup.ErrLeaseLost):
		u.m.counts.leaseLost.Add(1)
		u.m.o.Logger.Error("httpidem: the lease ended while the handler ran, another request may have run too", "request", u.name)
		Problem{
			TypeLeaseLost, "Another request took over", http.StatusConflict,
			"the operation took longer than it may, and another request with this idempotency key took over; retry to get its answer",
		}.write(u.w)
		return false
	default:
		u.m.counts.unavailable.Add(1)
		u.m.o.Logger.Error("httpidem: the answer could not be stored", "request", u.name, "error", err)
		retryAfter(u.w, time.Second)
		u.unavailable("the operation was run, and its answer could not be stored; retry with the same key")
		return false
	}
	u.endIntent()
	return true
}

// abandon ends the claim of a handler that panicked. With durable intents the
// outcome stays in doubt: nobody knows how far it came.
func (u *run) abandon() {
	u.m.counts.panics.Add(1)
	if !u.ended {
		u.release()
	}
}

func (u *run) release() {
	u.ended = true
	ctx, cancel := u.ending()
	defer cancel()
	if err := u.m.guard.Release(ctx, u.claim); err != nil && !errors.Is(err, dedup.ErrLeaseLost) {
		u.m.o.Logger.Warn("httpidem: a key is free only when its lease ends", "request", u.name, "error", err)
	}
}

func (u *run) endIntent() {
	if u.m.o.Intents == nil {
		return
	}
	ctx, cancel := u.ending()
	defer cancel()
	if err := u.m.o.Intents.End(ctx, u.key); err != nil {
		u.m.o.Logger.Warn("httpidem: an intent could not be ended", "request", u.name, "error", err)
	}
}
