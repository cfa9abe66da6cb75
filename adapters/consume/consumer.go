package consume

import (
	"context"
	"errors"
	"sync"

	"github.com/firstseen/firstseen/dedup"
	"go.opentelemetry.io/otel/trace"
)

// A Consumer decides about messages with one guard. Make one with New and share it
// among all goroutines of the application's consumers.
type Consumer struct {
	guard  dedup.Guard
	opts   Options
	tracer trace.Tracer
	counts counts
	// keepers are used again: one that served before allocates nothing. They have
	// timers, so each Consumer has its own (testing/synctest keeps timers apart).
	keepers sync.Pool

	// stop ends the handlers' contexts when Close has waited long enough.
	stop    context.Context
	stopNow context.CancelCauseFunc

	mu struct {
		sync.Mutex
		closed  bool
		running int
		idle    chan struct{} // closed when the last call has left; made by Close
	}
}

// New makes a Consumer. Its error names every problem of the options.
func New(guard dedup.Guard, o Options) (*Consumer, error) {
	o, err := o.withDefaults()
	if guard == nil && !o.Off {
		err = errors.Join(err, errors.New("consume: no guard"))
	}
	if err != nil {
		return nil, err
	}
	c := &Consumer{guard: guard, opts: o, tracer: o.TracerProvider.Tracer("github.com/firstseen/firstseen/adapters/consume")}
	c.stop, c.stopNow = context.WithCancelCause(context.Background())
	return c, nil
}

// Handle has one message handled, unless it is a duplicate, and says what the
// broker should be told. It returns when the handler has returned and its claim
// has ended.
func (c *Consumer) Handle(ctx context.Context, m Message, h Handler) Decision {
	return c.HandleBatch(ctx, []Message{m}, h)[0]
}

// HandleBatch does the same for many messages, and returns one Decision for each
// in their order. Their keys are claimed in one call, and committed in one when
// the last handler has returned. A message whose key stands earlier in the batch
// shares the fate of the first one. What a message waits for in place comes last,
// when everything else is committed.
func (c *Consumer) HandleBatch(ctx context.Context, msgs []Message, h Handler) []Decision {
	r := newRound(ctx, c, msgs, h)
	if !c.enter() {
		for i := range r.ds {
			r.retry(i, Stopped, ErrClosed)
		}
		r.count()
		return r.ds
	}
	defer c.leave()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.stop, func() { cancel(context.Cause(c.stop)) })()
	r.ctx = ctx
	r.do()
	return r.ds
}

// Close lets no message in any more: Handle answers Retry with ErrClosed. It
// waits for the handlers that run; when ctx ends before, their contexts end with
// the cause ErrClosed, and Close waits until they have returned. So after Close
// nothing uses the guard. The error is that of ctx, if it ended. A second Close
// waits as well.
func (c *Consumer) Close(ctx context.Context) error {
	c.mu.Lock()
	c.mu.closed = true
	if c.mu.idle == nil {
		c.mu.idle = make(chan struct{})
		if c.mu.running == 0 {
			close(c.mu.idle)
		}
	}
	idle := c.mu.idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	c.stopNow(ErrClosed)
	<-idle
	return context.Cause(ctx)
}

func (c *Consumer) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return false
	}
	c.mu.running++
	return true
}

func (c *Consumer) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.running--; c.mu.running == 0 && c.mu.closed {
		close(c.mu.idle)
	}
}
