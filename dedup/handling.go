package dedup

import (
	"context"
	"sync"
	"time"
)

// A handling is the context of a handler: it ends with its parent, or by end. It makes the context
// that can be canceled, and that its parent has to know of, for a handler that asks for more than an
// error. Those that are done before they look need none (a third of what Do adds to Claim and Commit).
type handling struct {
	parent context.Context

	mu struct {
		sync.Mutex
		ctx    context.Context // nil until somebody asks
		cancel context.CancelCauseFunc
		ended  bool  // by end, before anybody asked and before the parent ended
		cause  error // of that end
	}
}

func (h *handling) real() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.mu.ctx != nil:
	case h.mu.ended: // the parent may have ended since, with another cause
		h.mu.ctx, h.mu.cancel = context.WithCancelCause(context.WithoutCancel(h.parent))
		h.mu.cancel(h.mu.cause)
	default:
		h.mu.ctx, h.mu.cancel = context.WithCancelCause(h.parent)
	}
	return h.mu.ctx
}

// end ends the context; its cause is context.Canceled where cause is nil.
func (h *handling) end(cause error) {
	h.mu.Lock()
	cancel := h.mu.cancel
	if cancel == nil && !h.mu.ended && h.parent.Err() == nil {
		h.mu.ended, h.mu.cause = true, cause
	}
	h.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
}

// Err makes no context: a loop that only looks whether to go on stays cheap.
func (h *handling) Err() error {
	h.mu.Lock()
	ctx, ended := h.mu.ctx, h.mu.ended
	h.mu.Unlock()
	switch {
	case ctx != nil:
		return ctx.Err()
	case ended:
		return context.Canceled
	}
	return h.parent.Err()
}

func (h *handling) Deadline() (time.Time, bool) { return h.parent.Deadline() }
func (h *handling) Done() <-chan struct{}       { return h.real().Done() }

// Value asks the real context, since the context package finds its own contexts by a value: so a context
// that is derived from this one needs no goroutine, and has its cause.
func (h *handling) Value(key any) any { return h.real().Value(key) }
