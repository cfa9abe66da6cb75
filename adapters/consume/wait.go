package consume

import (
	"context"
	"time"
)

// Pauses between two looks at a key that somebody else holds.
const (
	lookPause    = time.Millisecond
	lookPauseMax = 100 * time.Millisecond
)

// wait waits in place for the messages that are in flight elsewhere and can't be
// delivered again, or not later, and decides about them anew.
func (r *round) wait() {
	for i, m := range r.msgs {
		limit := m.Wait
		if m.LastDelivery {
			limit = max(limit, r.c.opts.WaitMax)
		}
		if d := r.ds[i]; limit == 0 || d.Action != Retry || d.Reason != Busy && d.Reason != TwinFailed {
			continue
		}
		r.c.counts.of(r.items[i].scope).waited.Add(1)
		r.ds[i] = r.c.await(r.ctx, m, r.h, limit, r.ds[i])
	}
}

// await tries a message again until it is not busy any more or limit is over.
func (c *Consumer) await(ctx context.Context, m Message, h Handler, limit time.Duration, last Decision) Decision {
	end := time.NewTimer(limit)
	defer end.Stop()
	if last.Reason == TwinFailed {
		// The first one's key is fresh again, and so this one's.
		if last = c.once(ctx, m, h); last.Reason != Busy {
			return last
		}
	}
	for pause := lookPause; ; pause = min(2*pause, lookPauseMax) {
		look := time.NewTimer(pause)
		select {
		case <-look.C:
		case <-end.C:
			look.Stop()
			return last
		case <-ctx.Done():
			look.Stop()
			return last
		}
		if last = c.once(ctx, m, h); last.Reason != Busy {
			return last
		}
	}
}

// once decides about a message by a round of its own.
func (c *Consumer) once(ctx context.Context, m Message, h Handler) Decision {
	r := newRound(ctx, c, []Message{m}, h)
	r.look = true
	r.do()
	return r.ds[0]
}
