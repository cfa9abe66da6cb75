package consume

import (
	"context"
	"errors"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// A round is one batch on its way: its keys are claimed, its handlers run, its
// claims ended. Only the goroutine of HandleBatch uses it, but for handlers, each
// of which has its own item.
type round struct {
	c     *Consumer
	ctx   context.Context
	h     Handler
	msgs  []Message
	items []item
	ds    []Decision

	claims []dedup.Claim // of the items that have a key, in their order
	of     []int         // the item of each claim
	look   bool          // while a message waits in place: it neither waits itself nor counts
}

// An item is one message of the round.
type item struct {
	work  Work
	scope Scope
	claim int  // position in claims, -1 without a key
	noKey bool // or not a valid one
	run   bool // the handler shall run
	ran   bool // it did
	err   error
	twin  int  // the earlier item with the same key, or -1
	open  bool // nothing is decided yet
}

func newRound(ctx context.Context, c *Consumer, msgs []Message, h Handler) *round {
	r := &round{c: c, ctx: ctx, h: h, msgs: msgs, items: make([]item, len(msgs)), ds: make([]Decision, len(msgs))}
	for i, m := range msgs {
		it := &r.items[i]
		it.scope, it.claim, it.twin, it.open = c.opts.Scope, -1, -1, true
		if m.Topic != "" {
			it.scope.Topic = m.Topic
		}
		if m.Tag != "" {
			it.scope.Tag = m.Tag
		}
	}
	return r
}

// do takes the round all the way.
func (r *round) do() {
	span := r.startBatch()
	defer r.endBatch(span)
	if r.c.opts.Off {
		for i := range r.items {
			r.items[i].run = true
		}
	} else {
		r.claim(r.keys())
	}
	r.handle()
	r.settle()
	r.twins()
	if !r.look {
		r.wait()
		r.count()
	}
}

// keys makes the guard's keys of the messages that have one.
func (r *round) keys() [][]byte {
	keys := make([][]byte, 0, len(r.msgs))
	r.of = make([]int, 0, len(r.msgs))
	for i, m := range r.msgs {
		key, err := m.Key, error(nil)
		if key == nil && r.c.opts.Key != nil {
			key, err = r.c.opts.Key(m)
		}
		if len(key) == 0 && err == nil {
			err = ErrNoKey
		}
		if err == nil {
			key = r.c.opts.Join(nil, r.items[i].scope, key)
			if len(key) == 0 || len(key) > dedup.MaxKeyLen {
				err = &dedup.KeyError{Index: i, Len: len(key)}
			}
		}
		if err != nil {
			r.withoutKey(i, err)
			continue
		}
		r.items[i].claim = len(keys)
		keys = append(keys, key)
		r.of = append(r.of, i)
	}
	return keys
}

func (r *round) withoutKey(i int, err error) {
	r.items[i].noKey = true
	if r.c.opts.NoKey == HandleNoKey || r.c.opts.Observe {
		r.items[i].run = true
		return
	}
	r.decide(i, Reject, NoKey, err)
}

// claim asks the guard for all keys and decides about those that need no handler.
func (r *round) claim(keys [][]byte) {
	if len(keys) == 0 {
		return
	}
	var err error
	r.claims, err = r.c.guard.ClaimBatch(r.ctx, make([]dedup.Claim, 0, len(keys)), keys)
	whole := wholeCall(err)
	first := r.firstOf(keys)
	for n, claim := range r.claims {
		i := r.of[n]
		it := &r.items[i]
		it.work.claim = claim
		r.ds[i].Verdict, r.ds[i].Unguarded = claim.Verdict, claim.Unguarded
		switch {
		case claim.Verdict == dedup.Fresh:
			it.run = true
		case r.c.opts.Observe:
			it.run = true
			if claim.Verdict == dedup.Duplicate {
				r.tellDuplicate(i, claim)
			}
		case claim.Verdict == dedup.Duplicate:
			r.duplicate(i, claim, itemError(err, n))
		case claim.Verdict == dedup.InFlight && first[string(keys[n])] > 0:
			it.twin = first[string(keys[n])] - 1
		case claim.Verdict == dedup.InFlight:
			r.retryAt(i, Busy, claim.Expires, nil)
		case whole == nil:
			r.retryAt(i, NotKnown, time.Now().Add(r.c.opts.RetryMax), itemError(err, n))
		case r.ctx.Err() != nil:
			r.retry(i, Stopped, whole)
		default:
			r.retryAt(i, StoreDown, time.Now().Add(downDelay), whole)
		}
	}
}

// downDelay is when a message is worth another try after an error of the guard,
// within the bounds that the options set.
const downDelay = time.Second

// firstOf returns the item, plus one, that got each key that another item of this
// batch has as well; nil where none does, which is nearly always.
func (r *round) firstOf(keys [][]byte) map[string]int {
	var first map[string]int
	for _, claim := range r.claims {
		if claim.Verdict == dedup.InFlight {
			first = make(map[string]int, len(keys))
			break
		}
	}
	if first == nil {
		return nil
	}
	for n, claim := range r.claims {
		if claim.Verdict == dedup.Fresh {
			first[string(keys[n])] = r.of[n] + 1
		}
	}
	return first
}

// twins decides about the messages whose key stands earlier in the batch.
func (r *round) twins() {
	for i := range r.items {
		it := &r.items[i]
		if it.twin < 0 || !it.open {
			continue
		}
		first := r.ds[it.twin]
		if first.Action == Ack {
			claim := it.work.claim
			claim.Verdict, claim.Result = dedup.Duplicate, first.Result
			r.duplicate(i, claim, nil)
			continue
		}
		r.ds[i].Verdict = dedup.InFlight
		r.decide(i, Retry, TwinFailed, first.Err)
		r.ds[i].Delay = first.Delay
	}
}

func (r *round) duplicate(i int, claim dedup.Claim, err error) {
	r.ds[i].Verdict, r.ds[i].Result = dedup.Duplicate, claim.Result
	r.decide(i, Ack, Duplicated, err)
	r.tellDuplicate(i, claim)
}

func (r *round) tellDuplicate(i int, claim dedup.Claim) {
	if f := r.c.opts.OnDuplicate; f != nil {
		f(r.ctx, r.msgs[i], claim)
	}
}

func (r *round) decide(i int, a Action, why Reason, err error) {
	d := &r.ds[i]
	d.Action, d.Reason, d.Err, d.Delay = a, why, err, 0
	r.items[i].open = false
}

func (r *round) retry(i int, why Reason, err error) { r.decide(i, Retry, why, err) }

// retryAt decides on a Retry at a time, within the bounds of the options.
func (r *round) retryAt(i int, why Reason, at time.Time, err error) {
	r.retry(i, why, err)
	r.ds[i].Delay = min(max(time.Until(at), r.c.opts.RetryMin), r.c.opts.RetryMax)
}

// itemError returns what err says of the n-th key or claim of a call, or nil.
func itemError(err error, n int) error {
	if err == nil {
		return nil
	}
	for _, target := range []error{dedup.ErrLeaseLost, dedup.ErrResultTooLarge, dedup.ErrResultLost, dedup.ErrKeyInvalid} {
		for _, at := range dedup.IndexesOf(err, target) {
			if at == n {
				return target
			}
		}
	}
	return nil
}

// wholeCall returns what err says of the call, apart from single keys and claims,
// or nil.
func wholeCall(err error) error {
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand, one level at a time
	case nil, *dedup.KeyError, *dedup.LeaseError, *dedup.ResultError:
		return nil
	case interface{ Unwrap() []error }:
		for _, sub := range e.Unwrap() {
			if wholeCall(sub) != nil {
				return err
			}
		}
		return nil
	}
	if inner := errors.Unwrap(err); inner != nil && wholeCall(inner) == nil {
		return nil
	}
	return err
}
