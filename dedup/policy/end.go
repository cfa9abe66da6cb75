package policy

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// Commit implements [dedup.Guard]. Of claims that are Unguarded it claims and
// commits the keys; what becomes of them is in Stats and not in the error, since
// their messages were handled without the store's consent.
func (g *Guard) Commit(ctx context.Context, claims ...dedup.Claim) error {
	guarded, unguarded := part(claims)
	if len(unguarded) > 0 {
		g.mark(ctx, unguarded)
	}
	return g.end(ctx, g.guard.Commit, guarded)
}

// Release implements [dedup.Guard]. For an Unguarded claim there is nothing to
// do.
func (g *Guard) Release(ctx context.Context, claims ...dedup.Claim) error {
	guarded, _ := part(claims)
	return g.end(ctx, g.guard.Release, guarded)
}

// Extend implements [dedup.Guard]. An Unguarded claim comes back as it is.
func (g *Guard) Extend(ctx context.Context, c dedup.Claim, d time.Duration) (dedup.Claim, error) {
	if c.Unguarded {
		return c, nil
	}
	call, cancel := g.limit(ctx)
	defer cancel()
	extended, err := g.guard.Extend(call, c, d)
	if err != nil && !errors.Is(err, dedup.ErrLeaseLost) {
		g.counters.failed(ctx, err)
	}
	return extended, err
}

// part takes Unguarded claims out. The others keep their places, so that an
// error names the right ones: an Unguarded claim is replaced by one that Commit
// and Release ignore.
func part(claims []dedup.Claim) (guarded, unguarded []dedup.Claim) {
	guarded = claims
	for i, c := range claims {
		if !c.Unguarded || c.Verdict != dedup.Fresh {
			continue
		}
		if len(unguarded) == 0 {
			guarded = slices.Clone(claims)
		}
		guarded[i] = dedup.Claim{Key: c.Key}
		unguarded = append(unguarded, c)
	}
	if len(unguarded) == len(claims) {
		guarded = nil
	}
	return guarded, unguarded
}

func (g *Guard) end(ctx context.Context, do func(context.Context, ...dedup.Claim) error, claims []dedup.Claim) error {
	if len(claims) == 0 {
		return nil
	}
	call, cancel := g.limit(ctx)
	defer cancel()
	err := do(call, claims...)
	if err != nil && !errors.Is(err, dedup.ErrLeaseLost) && !errors.Is(err, dedup.ErrResultTooLarge) {
		g.counters.failed(ctx, err)
	}
	return err
}

// mark claims and commits keys whose messages were let through.
func (g *Guard) mark(ctx context.Context, claims []dedup.Claim) {
	keys := make([][]byte, len(claims))
	for i := range claims {
		keys[i] = claims[i].Key
	}
	call, cancel := g.limit(ctx)
	defer cancel()
	now, err := g.guard.ClaimBatch(call, nil, keys)
	var fresh uint64
	for i := range now {
		switch now[i].Verdict {
		case dedup.Fresh:
			now[i].Result = claims[i].Result
			fresh++
		case dedup.Duplicate:
			g.counters.handledTwice.Add(1)
		default:
			// Unknown, or in flight: another one handles it, or marks it in a moment.
		}
	}
	lost := uint64(len(keys)) - fresh - count(now, dedup.Duplicate)
	if fresh > 0 {
		failed := g.guard.Commit(call, now...)
		_, whole := split(failed) // a result that was too large leaves its key marked
		switch n := uint64(len(dedup.IndexesOf(failed, dedup.ErrLeaseLost))); {
		case n > 0:
			lost, fresh = lost+n, fresh-n
		case whole != nil:
			lost, fresh = lost+fresh, 0
		}
		err = errors.Join(err, failed)
	}
	g.counters.markedLate.Add(fresh)
	g.counters.unmarked.Add(lost)
	if err != nil {
		g.counters.failed(ctx, err)
	}
	if lost > 0 || err != nil {
		why := "another claim holds them"
		if err != nil {
			why = err.Error()
		}
		g.log.warn(ctx, "dedup: messages that were handled without a guard could not be marked", lost, why)
	}
}

func count(claims []dedup.Claim, v dedup.Verdict) (n uint64) {
	for i := range claims {
		if claims[i].Verdict == v {
			n++
		}
	}
	return n
}
