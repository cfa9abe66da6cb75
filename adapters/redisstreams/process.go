package redisstreams

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/internal/beat"
)

// Fields of dead letters, beside those of the message.
const (
	FieldStream = "firstseen-stream"
	FieldID     = "firstseen-id"
	FieldReason = "firstseen-reason"
	FieldError  = "firstseen-error"
)

// Process has messages handled and tells Redis what became of each. All their keys
// are claimed in one call and committed in one. A DeliveredCount of 0 stands for the
// first delivery. It returns the first error of the server; what Redis could not be
// told comes again after MinIdle, and is a duplicate then if it was handled.
func (a *Adapter) Process(ctx context.Context, h Handler, msgs ...redis.XMessage) error {
	if len(msgs) == 0 {
		return nil
	}
	batch := make([]consume.Message, len(msgs))
	for i, m := range msgs {
		batch[i] = a.message(m)
	}
	end := context.WithoutCancel(ctx) // what was handled is acknowledged, whoever stops
	stop := beat.Every(max(a.o.MinIdle/3, time.Millisecond), func() { a.refresh(end, msgs) })
	defer stop() // for a handler that ends its goroutine
	decisions := a.c.HandleBatch(ctx, batch, a.handler(h))
	stop()
	return a.tell(end, batch, decisions)
}

// refresh has the idle time of messages begin anew.
func (a *Adapter) refresh(ctx context.Context, msgs []redis.XMessage) {
	ids := make([]string, len(msgs))
	for i, m := range msgs {
		ids[i] = m.ID
	}
	err := a.db.XClaimJustID(ctx, &redis.XClaimArgs{Stream: a.o.Stream, Group: a.o.Group, Consumer: a.o.Consumer, Messages: ids}).Err()
	if err != nil {
		a.o.Logger.Warn("redisstreams: another consumer may be given what is worked on here", "stream", a.o.Stream, "error", err)
	}
}

// tell has Redis know what was decided, in one round trip.
func (a *Adapter) tell(ctx context.Context, batch []consume.Message, decisions []consume.Decision) error {
	p := a.db.Pipeline()
	acks := make([]string, 0, len(batch))
	for i, d := range decisions {
		cm := batch[i]
		m := cm.Value.(redis.XMessage)
		gaveUp := attempt(d) && cm.Deliveries >= a.o.MaxAttempts
		if d.Action == consume.Ack || (d.Action == consume.Reject || gaveUp) && a.refused(ctx, m, d) {
			acks = append(acks, m.ID)
			continue
		}
		a.again(ctx, p, cm, d)
	}
	if len(acks) > 0 {
		p.XAck(ctx, a.o.Stream, a.o.Group, acks...)
	}
	if _, err := p.Exec(ctx); err != nil {
		return fmt.Errorf("redisstreams: telling the server: %w", err)
	}
	return nil
}

// again leaves a message pending, due after its delay.
func (a *Adapter) again(ctx context.Context, p redis.Pipeliner, cm consume.Message, d consume.Decision) {
	n := cm.Deliveries
	if !attempt(d) && d.Action == consume.Retry {
		n--
	}
	idle := max(a.o.MinIdle-a.delay(cm, d), 0)
	p.Do(ctx, "XCLAIM", a.o.Stream, a.o.Group, a.o.Consumer, 0, cm.Value.(redis.XMessage).ID,
		"IDLE", idle.Milliseconds(), "RETRYCOUNT", n, "JUSTID")
}

// attempt reports whether a delivery failed by its own fault. Meeting a message in
// flight, or a store that is down, is none.
func attempt(d consume.Decision) bool {
	return d.Action == consume.Retry && (d.Reason == consume.Failed || d.Reason == consume.Panicked)
}

// delay is the other holder's remaining lease, or a pause that doubles with each
// attempt.
func (a *Adapter) delay(m consume.Message, d consume.Decision) time.Duration {
	switch {
	case d.Delay > 0:
		return d.Delay
	case d.Reason == consume.Stopped:
		return 0
	}
	return a.o.RetryAfter << min(max(m.Deliveries-1, 0), 5)
}

// refused puts a refused message where such messages go, and reports whether it is
// there.
func (a *Adapter) refused(ctx context.Context, m redis.XMessage, d consume.Decision) bool {
	log := a.o.Logger.With("stream", a.o.Stream, "message", m.ID, "reason", d.Reason.String())
	var err error
	switch {
	case a.o.OnReject != nil:
		err = a.o.OnReject(ctx, m, d.Err)
	case a.o.DeadLetters != "":
		err = a.db.XAdd(ctx, &redis.XAddArgs{Stream: a.o.DeadLetters, Values: a.deadLetter(m, d)}).Err()
	default:
		log.Error("redisstreams: a refused message is passed over", "error", d.Err)
	}
	if err != nil {
		log.Error("redisstreams: a refused message could not be put away and is delivered again", "error", err)
	}
	return err == nil
}

func (a *Adapter) deadLetter(m redis.XMessage, d consume.Decision) map[string]any {
	values := maps.Clone(m.Values)
	if values == nil {
		values = map[string]any{}
	}
	values[FieldStream], values[FieldID], values[FieldReason] = a.o.Stream, m.ID, d.Reason.String()
	if d.Err != nil {
		values[FieldError] = d.Err.Error()
	}
	return values
}
