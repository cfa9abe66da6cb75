package consume

import (
	"context"

	"github.com/firstseen/firstseen/dedup"
)

// A Work is what a handler can see and say of the message it works on. Only the
// handler's own goroutine may use it, or one that the handler waits for, and only
// until the handler returns.
type Work struct {
	claim     dedup.Claim
	result    []byte
	committed bool
}

type workKey struct{}

// WorkFrom returns the Work of the handler that got ctx, or nil. All methods of a
// nil Work do nothing.
func WorkFrom(ctx context.Context) *Work {
	w, _ := ctx.Value(workKey{}).(*Work)
	return w
}

// Claim returns the claim under which the handler runs, for a store's CommitTx.
// Its Result is the one that was set. Its Verdict is Fresh; where it is not (the
// message has no key, or Observe let a duplicate through) there is nothing to
// commit, and a CommitTx ignores it.
func (w *Work) Claim() dedup.Claim {
	if w == nil {
		return dedup.Claim{}
	}
	c := w.claim
	c.Result = w.result
	return c
}

// SetResult keeps b with the mark, so that later duplicates are answered with it
// (dedup.Claim.Result). b must not change until the message's Decision is there.
func (w *Work) SetResult(b []byte) {
	if w != nil {
		w.result = b
	}
}

// SetCommitted says that the handler has committed the claim itself: in the
// transaction of its effect, which is committed. The consumer then neither
// commits nor, if the handler returns an error all the same, releases.
func (w *Work) SetCommitted() {
	if w != nil {
		w.committed = true
	}
}
