package watermill

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/firstseen/firstseen/adapters/consume"
)

// Middleware is a message.HandlerMiddleware: it claims a message's key, calls h,
// publishes what h produced and marks the key. The context of the message that h gets
// carries its consume.Work, and ends when the lease is lost.
func (a *Adapter) Middleware(h message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		ctx := m.Context()
		d := a.c.Handle(ctx, consume.Message{
			Topic: message.SubscribeTopicFromCtx(ctx), Tag: message.HandlerNameFromCtx(ctx), Wait: a.o.Wait, Value: m,
		}, func(ctx context.Context, cm consume.Message) error {
			return a.handle(ctx, cm.Value.(*message.Message), h)
		})
		switch {
		case d.Action == consume.Ack:
			return nil, nil
		case d.Action == consume.Reject:
			return nil, a.refused(ctx, m, d.Err)
		case d.Reason == consume.Failed || d.Reason == consume.Panicked:
			return nil, d.Err
		}
		pause(ctx, min(d.Delay, a.o.Pause))
		if d.Err != nil {
			return nil, fmt.Errorf("%w: %v: %w", ErrNotHandled, d.Reason, d.Err)
		}
		return nil, fmt.Errorf("%w: %v", ErrNotHandled, d.Reason)
	}
}

// handle calls the handler and publishes its messages.
func (a *Adapter) handle(ctx context.Context, m *message.Message, h message.HandlerFunc) error {
	before := m.Context()
	m.SetContext(ctx)
	defer m.SetContext(before)
	produced, err := h(m)
	if err != nil || len(produced) == 0 {
		return err
	}
	if a.o.Publisher == nil {
		return ErrNoPublisher
	}
	if err := a.o.Publisher.Publish(message.PublishTopicFromCtx(before), produced...); err != nil {
		return fmt.Errorf("watermill: publishing: %w", err)
	}
	return nil
}

// refused is nil if the message is to be acknowledged.
func (a *Adapter) refused(ctx context.Context, m *message.Message, why error) error {
	if a.o.OnReject == nil {
		return why
	}
	if err := a.o.OnReject(ctx, m, why); err != nil {
		a.o.Logger.Error("watermill: a refused message is delivered again", "message", m.UUID, "error", err)
		return err
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
