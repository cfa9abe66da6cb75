package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/firstseen/firstseen/dedup"
)

// claimTarget is an engine whose keys are handled before they are marked: claimed, then
// committed. Of the claims one in releaseEvery is released, as after a handler's error, and one in
// expireEvery ends by its lease; their keys are claimed again.
type claimTarget struct {
	*engineTarget
	calls sync.Pool // of *claimCall
}

const (
	releaseEvery = 128
	expireEvery  = 512
)

// A claimCall is the scratch of one call.
type claimCall struct {
	claims []dedup.Claim
	seen   int // claims so far that were Fresh
}

// Admit claims keys, and commits the claims.
func (t *claimTarget) Admit(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	c, _ := t.calls.Get().(*claimCall)
	if c == nil {
		c = new(claimCall)
	}
	defer t.calls.Put(c)
	var err error
	if len(keys) == 1 {
		var one dedup.Claim
		one, err = t.e.Claim(ctx, keys[0])
		c.claims = append(c.claims[:0], one)
	} else {
		c.claims, err = t.e.ClaimBatch(ctx, c.claims[:0], keys)
	}
	if err != nil {
		return vs, fmt.Errorf("engine: claim: %w", err)
	}
	if err := t.lose(ctx, c); err != nil {
		return vs, err
	}
	if err := t.e.Commit(ctx, c.claims...); err != nil {
		return vs, fmt.Errorf("engine: commit: %w", err)
	}
	// A key that comes twice in a call is InFlight the second time: its first one decides.
	for i := range c.claims {
		v := c.claims[i].Verdict
		if v == dedup.InFlight {
			v = dedup.Duplicate
		}
		vs = append(vs, v)
	}
	return vs, nil
}

// lose ends some of the claims in another way, and claims their keys again.
func (t *claimTarget) lose(ctx context.Context, c *claimCall) error {
	for i := range c.claims {
		if c.claims[i].Verdict != dedup.Fresh {
			continue
		}
		c.seen++
		switch {
		case c.seen%expireEvery == 0:
			if _, err := t.e.Extend(ctx, c.claims[i], 1); err != nil {
				return fmt.Errorf("engine: extend: %w", err)
			}
		case c.seen%releaseEvery == 0:
			if err := t.e.Release(ctx, c.claims[i]); err != nil {
				return fmt.Errorf("engine: release: %w", err)
			}
		default:
			continue
		}
		claim, err := t.e.Claim(ctx, c.claims[i].Key)
		if err != nil {
			return fmt.Errorf("engine: claim again: %w", err)
		}
		if claim.Verdict == dedup.InFlight && c.seen%expireEvery == 0 {
			continue // the workload's clock has not moved yet
		}
		if claim.Verdict != dedup.Fresh {
			return fmt.Errorf("engine: a key that was given up is %v", claim.Verdict)
		}
		if err := t.e.Commit(ctx, c.claims[i]); !errors.Is(err, dedup.ErrLeaseLost) {
			return fmt.Errorf("engine: a claim that was given up is committed: %w", err)
		}
		c.claims[i] = claim
	}
	return nil
}
