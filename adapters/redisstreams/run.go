package redisstreams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const pauseAfterError = time.Second // what Run waits after an error of the server

// Run reads messages and processes them, a batch at a time, until ctx ends; then it
// returns nil when the last batch is done, Options.Poll later at most than its
// handlers. Errors of the server are logged and tried again, but for those that stay:
// a group or stream that isn't there, a client that is closed.
func (a *Adapter) Run(ctx context.Context, h Handler) error {
	scan := scan{from: firstID}
	for ctx.Err() == nil {
		msgs, err := a.read(ctx, &scan)
		if len(msgs) > 0 {
			err = errors.Join(err, a.Process(ctx, h, msgs...)) // what failed comes again
		}
		switch {
		case gone(err):
			return fmt.Errorf("redisstreams: read: %w", err)
		case err != nil:
			a.o.Logger.Warn("redisstreams: the server", "stream", a.o.Stream, "error", err)
			pause(ctx)
		}
	}
	return nil
}

// A scan is how far Run has looked for messages that are due again.
type scan struct {
	from string    // firstID: begin anew, at the time next
	next time.Time // zero: now
}

const firstID = "0-0"

// read takes messages that are due again, half a batch at most, and new ones. It waits
// for new ones while there are no others.
func (a *Adapter) read(ctx context.Context, s *scan) ([]redis.XMessage, error) {
	// The client would drop an answer that comes after the end of ctx, and with it
	// messages that are pending from then on. Poll bounds the wait.
	ctx = context.WithoutCancel(ctx)
	var msgs []redis.XMessage
	wait := time.Until(s.next)
	if wait <= 0 {
		due, err := a.due(ctx, s)
		if err != nil {
			return nil, err
		}
		msgs, wait = due, a.o.Poll
	}
	if len(msgs) > 0 || s.from != firstID {
		wait = -1 // not at all
	}
	streams, err := a.db.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: a.o.Group, Consumer: a.o.Consumer, Streams: []string{a.o.Stream, ">"}, Count: int64(max(a.o.Batch-len(msgs), 1)),
		Block: blockFor(wait),
	}).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return msgs, err
	}
	for _, s := range streams {
		msgs = append(msgs, s.Messages...)
	}
	return msgs, nil
}

// blockFor rounds up: to Redis, 0 ms means for ever.
func blockFor(wait time.Duration) time.Duration {
	if wait < 0 {
		return wait
	}
	return max(wait, time.Millisecond)
}

// due claims messages that have been idle for MinIdle, with the number of their
// deliveries. Redis looks at ten times as many as are asked for and says where it
// stopped.
func (a *Adapter) due(ctx context.Context, s *scan) ([]redis.XMessage, error) {
	msgs, from, err := a.db.XAutoClaim(ctx, &redis.XAutoClaimArgs{
		Stream: a.o.Stream, Group: a.o.Group, Consumer: a.o.Consumer, MinIdle: a.o.MinIdle, Start: s.from, Count: int64(max(a.o.Batch/2, 1)),
	}).Result()
	if err != nil {
		return nil, err
	}
	if s.from = from; from == firstID {
		s.next = time.Now().Add(a.o.Poll)
	}
	if len(msgs) == 0 {
		return nil, nil
	}
	p := a.db.Pipeline()
	counts := make([]*redis.XPendingExtCmd, len(msgs))
	for i, m := range msgs {
		counts[i] = p.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: a.o.Stream, Group: a.o.Group, Start: m.ID, End: m.ID, Count: 1})
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, err
	}
	for i, c := range counts {
		if entries := c.Val(); len(entries) > 0 {
			msgs[i].DeliveredCount = entries[0].RetryCount
		}
	}
	return msgs, nil
}

func gone(err error) bool {
	return errors.Is(err, redis.ErrClosed) || redis.HasErrorPrefix(err, "NOGROUP") || redis.HasErrorPrefix(err, "WRONGTYPE")
}

func pause(ctx context.Context) {
	t := time.NewTimer(pauseAfterError)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
