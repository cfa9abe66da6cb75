package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/firstseen/firstseen/adapters/consume"
)

const (
	pauseAfterError = time.Second // what Run waits after an error of the server
	fetchWait       = time.Second // how long Run asks for a message, and so how long stopping may take
)

// MessageHandler returns what jetstream.Consumer.Consume takes. It handles one
// message after the other, each with a claim of its own; messages that wait in the
// client's buffer run against AckWait, so keep the buffer small
// (jetstream.PullMaxMessages) where handlers are slow. Stop the consumption (Drain,
// or Stop) before Close.
func (a *Adapter) MessageHandler(h Handler) jetstream.MessageHandler {
	handle := handler(h)
	return func(m jetstream.Msg) {
		ctx := context.Background() // the client has none to give
		cm := a.message(m)
		stop := a.progress(m)
		d := a.c.Handle(ctx, cm, handle)
		stop()
		_ = a.tell(ctx, cm, d) // logged; the message comes again
	}
}

// Run fetches messages of cons and processes them, a batch at a time, until ctx
// ends; then it returns nil when the last batch is done, a second later at most than
// its handlers. Errors of the server are logged and tried again, but for the end of
// the connection or of the consumer, which it returns.
func (a *Adapter) Run(ctx context.Context, cons jetstream.Consumer, h Handler) error {
	for ctx.Err() == nil {
		msgs, err := a.fetch(cons)
		switch {
		case len(msgs) > 0:
			_ = a.Process(ctx, h, msgs...) // logged; what failed comes again
		case gone(err):
			return fmt.Errorf("nats: fetch: %w", err)
		case err != nil:
			a.o.Logger.Warn("nats: fetch", "error", err)
			pause(ctx)
		}
	}
	return nil
}

// fetch waits for one message and takes what is there with it. Nothing waits in a
// buffer meanwhile, where it would run against AckWait.
func (a *Adapter) fetch(cons jetstream.Consumer) ([]jetstream.Msg, error) {
	first, err := cons.Fetch(1, jetstream.FetchMaxWait(fetchWait))
	if err != nil {
		return nil, err
	}
	msgs := make([]jetstream.Msg, 0, a.o.Batch)
	if msgs, err = appendAll(msgs, first); err != nil || len(msgs) == 0 || a.o.Batch == 1 {
		return msgs, err
	}
	more, err := cons.FetchNoWait(a.o.Batch - 1)
	if err != nil {
		return msgs, err
	}
	return appendAll(msgs, more)
}

func appendAll(msgs []jetstream.Msg, b jetstream.MessageBatch) ([]jetstream.Msg, error) {
	for m := range b.Messages() {
		msgs = append(msgs, m)
	}
	return msgs, b.Error()
}

func gone(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrConsumerDeleted) ||
		errors.Is(err, jetstream.ErrConnectionClosed)
}

func pause(ctx context.Context) {
	t := time.NewTimer(pauseAfterError)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// ProcessBatch waits for all messages of a pulled batch and processes them.
func (a *Adapter) ProcessBatch(ctx context.Context, h Handler, b jetstream.MessageBatch) error {
	msgs, err := appendAll(nil, b)
	if err != nil {
		err = fmt.Errorf("nats: fetch: %w", err)
	}
	return errors.Join(err, a.Process(ctx, h, msgs...))
}

// Process has messages handled and tells the server what became of each. All their
// keys are claimed in one call and committed in one. It returns the first error of
// the connection; a message whose acknowledgement failed comes again, and is a
// duplicate then.
func (a *Adapter) Process(ctx context.Context, h Handler, msgs ...jetstream.Msg) error {
	if len(msgs) == 0 {
		return nil
	}
	batch := make([]consume.Message, len(msgs))
	for i, m := range msgs {
		batch[i] = a.message(m)
	}
	stop := a.progress(msgs...)
	decisions := a.c.HandleBatch(ctx, batch, handler(h))
	stop()
	end := context.WithoutCancel(ctx) // what was handled is acknowledged, whoever stops
	var failed error
	for i, d := range decisions {
		if err := a.tell(end, batch[i], d); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}
