package idem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/dedup"
)

// A Run is one handler at work on a claim. Its zero value is not ready.
type Run struct {
	*Operation
	claim   dedup.Claim
	keep    dedup.Keeper
	unwatch func() bool // of the lease; before keep.Stop, which would look like its loss
	ended   bool        // the claim was committed or released, or nobody knows
}

// ErrNotCommitted says that a handler has run, or its outcome was settled, and
// its key could not be marked. Where it wraps dedup.ErrLeaseLost another request
// took over.
var ErrNotCommitted = errors.New("the key could not be marked")

// Run returns a run on a fresh claim.
func (o *Operation) Run(claim dedup.Claim) *Run { return &Run{Operation: o, claim: claim} }

// Begin notes the intent, where intents are kept. Where it returns nil twice the
// handler is to run. Else the claim has ended: settled is the record that an
// earlier outcome gave, to be given to Read; intents.ErrInDoubt says that the
// outcome is in doubt; an ErrNotCommitted that a settled key could not be marked;
// any other error that the store of intents is down.
func (r *Run) Begin() (settled []byte, err error) {
	if r.Intents == nil {
		r.Counts.Run.Add(1)
		return nil, nil
	}
	ctx, cancel := r.ending()
	defer cancel()
	prior, err := r.note()
	if errors.Is(err, intents.ErrInDoubt) {
		settled, err = r.settle(ctx, prior)
	} else if err != nil {
		r.Release()
	}
	if settled == nil && err == nil {
		r.Counts.Run.Add(1)
	}
	return settled, err
}

// note makes the intent durable. After an error nobody knows whether it is, and an
// intent of ours that we took no notice of would leave the key in doubt though the
// handler never ran: it is tried once more, and an intent that is there and begun
// by us is the one we wanted.
func (r *Run) note() (prior intents.Intent, err error) {
	in := r.intent()
	for range 2 {
		ctx, cancel := r.ending()
		prior, err = r.Intents.Begin(ctx, in)
		cancel()
		if err == nil || errors.Is(err, intents.ErrInDoubt) {
			break
		}
	}
	// Two runs of a key have two claims, so they don't begin in the same microsecond.
	if errors.Is(err, intents.ErrInDoubt) && prior.Begun.Equal(in.Begun) && prior.Fingerprint == in.Fingerprint {
		return intents.Intent{}, nil
	}
	return prior, err
}

// intent is what is noted. The stores keep microseconds.
func (r *Run) intent() intents.Intent {
	return intents.Intent{Key: r.Key, Name: r.Name, Begun: time.Now().Truncate(time.Microsecond), Fingerprint: r.Fingerprint}
}

// settle deals with an intent that was there before.
func (r *Run) settle(ctx context.Context, prior intents.Intent) ([]byte, error) {
	o := prior.Outcome
	if o.Kind == intents.InDoubt && r.Settle != nil {
		var err error
		if o, err = r.Settle(prior); err != nil {
			r.Logger.Error("settling an intent", "request", prior.Name, "error", err)
			o = intents.Outcome{}
		}
	}
	switch {
	case o.Kind == intents.NeverHappened:
		err := r.Intents.End(ctx, r.Key)
		if err == nil {
			_, err = r.note()
		}
		if err != nil {
			r.Release()
		}
		return nil, err
	case o.Kind == intents.Happened && intents.CheckOutcome(o) == nil:
		record := AppendHead(nil, Settled, prior.Fingerprint)
		if o.Status != 0 {
			if known := r.Answer(AppendHead(nil, Stored, prior.Fingerprint), o); known != nil {
				record = known
			}
		}
		return record, r.Commit(record)
	}
	r.Release()
	r.Counts.InDoubt.Add(1)
	return nil, intents.ErrInDoubt
}

// Start keeps the lease from now on, and returns the handler's context. It ends
// when the lease is lost; cancel must be called.
func (r *Run) Start() (ctx context.Context, cancel context.CancelCauseFunc) {
	ctx, cancel = context.WithCancelCause(r.Context)
	r.keep.Start(context.WithoutCancel(ctx), r.Guard, 0, r.claim)
	lease := r.keep.Context(0)
	r.unwatch = context.AfterFunc(lease, func() { cancel(context.Cause(lease)) })
	return ctx, cancel
}

// StopKeeping ends the renewals of the lease. The handler's context goes on: one
// that streams has its key marked and works on.
func (r *Run) StopKeeping() {
	if r.unwatch != nil {
		r.unwatch()
		r.keep.Stop()
	}
}

// Ended says that the claim was committed or released, or that nobody knows.
func (r *Run) Ended() bool { return r.ended }

// Commit marks the key with a record. Its error is an ErrNotCommitted, and then
// the client must not see the answer.
func (r *Run) Commit(record []byte) error {
	r.StopKeeping()
	r.ended = true
	claim := r.claim
	claim.Result = record
	err := r.insist(func(ctx context.Context) error { return r.Guard.Commit(ctx, claim) })
	if errors.Is(err, dedup.ErrLeaseLost) && r.marked(record) {
		err = nil
	}
	switch {
	case err == nil:
	case errors.Is(err, dedup.ErrResultTooLarge): // marked all the same
		r.Logger.Warn("the guard keeps shorter results than MaxAnswer", "request", r.Name, "bytes", len(record))
	case errors.Is(err, dedup.ErrLeaseLost):
		r.Counts.LeaseLost.Add(1)
		r.Logger.Error("the lease ended while the handler ran, another request may have run too", "request", r.Name)
		return fmt.Errorf("%w: %w", ErrNotCommitted, err)
	default:
		r.Logger.Error("the answer could not be stored", "request", r.Name, "error", err)
		return fmt.Errorf("%w: %w", ErrNotCommitted, err)
	}
	r.endIntent()
	return nil
}

// insist calls f up to three times: a commit that a store did not take in time
// would leave the outcome of an operation that is done in doubt.
func (r *Run) insist(f func(context.Context) error) (err error) {
	for range 3 {
		ctx, cancel := r.ending()
		err = f(ctx)
		cancel()
		if err == nil || errors.Is(err, dedup.ErrLeaseLost) || errors.Is(err, dedup.ErrResultTooLarge) {
			break
		}
	}
	return err
}

// marked says whether the key is marked with our record: a commit that is repeated
// finds the claim gone where the first try was successful after all.
func (r *Run) marked(record []byte) bool {
	ctx, cancel := r.ending()
	defer cancel()
	claim, err := r.Guard.Claim(ctx, r.Key)
	if err == nil && claim.Verdict == dedup.Fresh { // another run has released it
		_ = r.Guard.Release(ctx, claim) // or its lease ends
	}
	return err == nil && claim.Verdict == dedup.Duplicate && bytes.Equal(claim.Result, record)
}

// NotFinal frees the key after an answer that asks for another try. The intent ends
// first: the next request must not find it.
func (r *Run) NotFinal() {
	r.Counts.NotFinal.Add(1)
	r.StopKeeping()
	r.endIntent()
	r.Release()
}

// Abandon ends the claim of a handler that panicked. With intents the outcome
// stays in doubt: nobody knows how far it came.
func (r *Run) Abandon() {
	r.StopKeeping()
	r.Counts.Panics.Add(1)
	if !r.ended {
		r.Release()
	}
}

// Release frees the key, and leaves the intent.
func (r *Run) Release() {
	r.ended = true
	ctx, cancel := r.ending()
	defer cancel()
	if err := r.Guard.Release(ctx, r.claim); err != nil && !errors.Is(err, dedup.ErrLeaseLost) {
		r.Logger.Warn("a key is free only when its lease ends", "request", r.Name, "error", err)
	}
}

func (r *Run) endIntent() {
	if r.Intents == nil {
		return
	}
	if err := r.insist(func(ctx context.Context) error { return r.Intents.End(ctx, r.Key) }); err != nil {
		r.Logger.Warn("an intent could not be ended", "request", r.Name, "error", err)
	}
}
