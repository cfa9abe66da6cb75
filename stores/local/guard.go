package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// Options of a Guard. The zero value remembers what the store calls a Duplicate and
// says how long it keeps.
type Options struct {
	// Window is how long the store keeps a mark at least, counted from its commit: the
	// store's own Window. 0, the default: keys that this process commits are not
	// remembered before the store has called them Duplicate once.
	Window time.Duration
	// Entries is the number of keys that are remembered at most, 2 or more. Default
	// 1,000,000, for which 16-byte keys take about 100 MB.
	Entries int
	// Bytes bounds the memory of the keys themselves, about 90 bytes for each entry
	// beside its key. Default 256 MiB.
	Bytes int64
}

// A Guard is the layer. See the package's documentation.
type Guard struct {
	behind dedup.Guard
	window time.Duration
	cache  cache
	rests  sync.Pool // of *rest
}

var _ dedup.Guard = (*Guard)(nil)

// New returns a layer in front of behind.
func New(behind dedup.Guard, o Options) (*Guard, error) {
	if o.Entries == 0 {
		o.Entries = 1_000_000
	}
	if o.Bytes == 0 {
		o.Bytes = 256 << 20
	}
	var problems []error
	if behind == nil {
		problems = append(problems, errors.New("there is no guard behind it"))
	}
	if o.Window < 0 {
		problems = append(problems, fmt.Errorf("Window is %v, it must not be negative", o.Window))
	}
	if o.Entries < 2 {
		problems = append(problems, fmt.Errorf("Entries is %d, it must be 2 or more", o.Entries))
	}
	if o.Bytes < 0 {
		problems = append(problems, fmt.Errorf("Bytes is %d, it must not be negative", o.Bytes))
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("local: bad options: %w", errors.Join(problems...))
	}
	g := &Guard{behind: behind, window: o.Window}
	g.cache.init(o.Entries, o.Bytes)
	g.rests.New = func() any { return new(rest) }
	return g, nil
}

// Claim asks the layer and, where it doesn't know the key, the store.
func (g *Guard) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	now := g.cache.now()
	if expires, ok := g.cache.get(key, now); ok {
		if err := ctx.Err(); err != nil {
			return dedup.Claim{Key: key}, err
		}
		return dedup.Claim{Key: key, Verdict: dedup.Duplicate, Expires: expires}, nil
	}
	c, err := g.behind.Claim(ctx, key)
	if err == nil {
		g.learn(&c, now)
	}
	return c, err
}

// A rest is what a batch asks the store for.
type rest struct {
	keys   [][]byte
	at     []int // where each stands in the batch
	claims []dedup.Claim
}

// ClaimBatch asks the store for the keys that the layer doesn't know, in one call.
func (g *Guard) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	now := g.cache.now()
	r := g.rests.Get().(*rest)
	defer g.give(r)
	base := len(cs)
	cs = slices.Grow(cs, len(keys))
	for i, key := range keys {
		c := dedup.Claim{Key: key}
		if expires, ok := g.cache.get(key, now); ok {
			c.Verdict, c.Expires = dedup.Duplicate, expires
		} else {
			r.keys, r.at = append(r.keys, key), append(r.at, i)
		}
		cs = append(cs, c)
	}
	if len(r.keys) == 0 {
		if err := ctx.Err(); err != nil {
			return forgetAll(cs, base), err
		}
		return cs, nil
	}
	var err error
	r.claims, err = g.behind.ClaimBatch(ctx, r.claims, r.keys)
	if len(r.claims) != len(r.keys) {
		return forgetAll(cs, base), errors.Join(err, fmt.Errorf("local: the store gave %d claims for %d keys", len(r.claims), len(r.keys)))
	}
	odd := oddOnes(err)
	for i := range r.claims {
		c := &r.claims[i]
		if !odd[i] {
			g.learn(c, now)
		}
		cs[base+r.at[i]] = *c
	}
	return cs, moved(err, r.at)
}

func (g *Guard) give(r *rest) {
	clear(r.keys)
	clear(r.claims)
	r.keys, r.at, r.claims = r.keys[:0], r.at[:0], r.claims[:0]
	g.rests.Put(r)
}

// forgetAll makes the claims from base on unknown: an ended context, or a store that
// gives no answers, ends a call as a whole.
func forgetAll(cs []dedup.Claim, base int) []dedup.Claim {
	for i := range cs[base:] {
		cs[base+i] = dedup.Claim{Key: cs[base+i].Key}
	}
	return cs
}

// learn remembers a key that the store calls a duplicate, if that is all there is to
// say of it.
func (g *Guard) learn(c *dedup.Claim, now moment) {
	if c.Verdict == dedup.Duplicate && c.Result == nil && !c.Expires.IsZero() {
		g.cache.put(c.Key, now, c.Expires.Sub(now.wall))
	}
}

// Commit has the store mark the claims' keys and remembers those that it marked.
func (g *Guard) Commit(ctx context.Context, claims ...dedup.Claim) error {
	now := g.cache.now() // before the call, so that an entry ends first
	err := g.behind.Commit(ctx, claims...)
	if g.window == 0 {
		return err
	}
	if err != nil && !onlyOdd(err) {
		return err // nothing is known of the others
	}
	odd := oddOnes(err)
	for i := range claims {
		c := &claims[i]
		if c.Verdict == dedup.Fresh && len(c.Result) == 0 && !odd[i] {
			g.cache.put(c.Key, now, g.window)
		}
	}
	return err
}

// Release passes the claims on to the store.
func (g *Guard) Release(ctx context.Context, claims ...dedup.Claim) error {
	return g.behind.Release(ctx, claims...)
}

// Extend passes the claim on to the store.
func (g *Guard) Extend(ctx context.Context, claim dedup.Claim, d time.Duration) (dedup.Claim, error) {
	return g.behind.Extend(ctx, claim, d)
}

// Forget takes a key out of this layer; the store and other processes' layers don't
// hear of it. See the package's documentation.
func (g *Guard) Forget(key []byte) { g.cache.drop(key) }

// Stats are sums since New.
type Stats struct {
	Hits    uint64 // duplicates that cost no round trip
	Misses  uint64 // keys that the store was asked for
	Entries int    // keys that are remembered now, the ended ones included
	Bytes   int64  // of their keys and what lies beside them, as Options.Bytes counts
}

// Stats returns the sums; they are not read at one moment.
func (g *Guard) Stats() Stats { return g.cache.stats() }
