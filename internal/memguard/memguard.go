// Package memguard is a [dedup.Guard] in memory for tests: exact, without a
// window, and with one place where calls can be made to fail or wait. Its clock
// is time.Now, so it can be used inside a testing/synctest bubble.
package memguard

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// A Guard keeps everything in a map. The zero value is ready; the fields are
// set before the first call.
type Guard struct {
	Lease     time.Duration // of a claim; default 30 s
	MaxResult int           // bytes; default 1 MiB, below 0: none are kept
	// Before runs at the start of each call with its name; an error from it is
	// the answer of the call, and nothing was done.
	Before func(ctx context.Context, call string) error

	mu struct {
		sync.Mutex
		keys  map[string]*entry
		token uint64
		calls map[string]int
	}
}

type entry struct {
	token   dedup.Token // zero when nobody holds the key
	expires time.Time
	marked  bool
	large   bool
	result  []byte
}

// Calls returns how often the named method was called.
func (g *Guard) Calls(name string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.calls[name]
}

// Result returns what is kept with key, and whether it is marked.
func (g *Guard) Result(key []byte) ([]byte, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.mu.keys[string(key)]
	if e == nil {
		return nil, false
	}
	return e.result, e.marked
}

// Steal ends the claim that somebody holds on key, as if its lease had passed.
func (g *Guard) Steal(key []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.mu.keys, string(key))
}

// Contains says whether key is marked.
func (g *Guard) Contains(_ context.Context, key []byte) (bool, error) {
	if !valid(key) {
		return false, &dedup.KeyError{Len: len(key)}
	}
	_, marked := g.Result(key)
	return marked, nil
}

// Forget takes the mark of key back.
func (g *Guard) Forget(_ context.Context, key []byte) error {
	if !valid(key) {
		return &dedup.KeyError{Len: len(key)}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.mu.keys[string(key)]; e != nil && e.marked {
		delete(g.mu.keys, string(key))
	}
	return nil
}

func (g *Guard) begin(ctx context.Context, call string) error {
	g.mu.Lock()
	if g.mu.calls == nil {
		g.mu.calls = make(map[string]int)
		g.mu.keys = make(map[string]*entry)
	}
	g.mu.calls[call]++
	g.mu.Unlock()
	if g.Before != nil {
		return g.Before(ctx, call)
	}
	if strings.HasPrefix(call, "Claim") {
		return ctx.Err() // an end is never stopped: nothing has to wait
	}
	return nil
}

func (g *Guard) lease() time.Duration {
	if g.Lease == 0 {
		return 30 * time.Second
	}
	return g.Lease
}

func valid(key []byte) bool { return len(key) > 0 && len(key) <= dedup.MaxKeyLen }

func (g *Guard) claim(key []byte, i int) (dedup.Claim, error) {
	c := dedup.Claim{Key: key}
	if !valid(key) {
		return c, &dedup.KeyError{Index: i, Len: len(key)}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.mu.keys[string(key)]
	switch now := time.Now(); {
	case e != nil && e.marked:
		c.Verdict, c.Result = dedup.Duplicate, slices.Clone(e.result)
		if e.large {
			return c, &dedup.ResultError{Index: i, Err: dedup.ErrResultTooLarge}
		}
	case e != nil && now.Before(e.expires):
		c.Verdict, c.Expires = dedup.InFlight, e.expires
	default:
		g.mu.token++
		binary.BigEndian.PutUint64(c.Token[:], g.mu.token)
		c.Verdict, c.Expires = dedup.Fresh, now.Add(g.lease())
		g.mu.keys[string(key)] = &entry{token: c.Token, expires: c.Expires}
	}
	return c, nil
}

// Claim implements [dedup.Guard].
func (g *Guard) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	if err := g.begin(ctx, "Claim"); err != nil {
		return dedup.Claim{Key: key}, err
	}
	return g.claim(key, 0)
}

// ClaimBatch implements [dedup.Guard].
func (g *Guard) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	failed := g.begin(ctx, "ClaimBatch")
	var errs []error
	for i, key := range keys {
		c := dedup.Claim{Key: key}
		if failed == nil {
			var err error
			if c, err = g.claim(key, i); err != nil {
				errs = append(errs, err)
			}
		}
		cs = append(cs, c)
	}
	return cs, errors.Join(append(errs, failed)...)
}

// heldLocked returns the entry that the claim holds, or nil. A lease that has ended
// without another owner coming is still good.
func (g *Guard) heldLocked(c dedup.Claim) *entry {
	e := g.mu.keys[string(c.Key)]
	if e == nil || e.marked || c.Token == (dedup.Token{}) || e.token != c.Token {
		return nil
	}
	return e
}

// Commit implements [dedup.Guard].
func (g *Guard) Commit(ctx context.Context, claims ...dedup.Claim) error {
	return g.end(ctx, "Commit", claims, func(i int, c dedup.Claim, e *entry) error {
		e.marked = true
		limit := g.MaxResult
		if limit == 0 {
			limit = 1 << 20
		}
		if len(c.Result) > max(limit, 0) {
			e.large = true
			return &dedup.ResultError{Index: i, Err: dedup.ErrResultTooLarge}
		}
		if len(c.Result) > 0 {
			e.result = slices.Clone(c.Result)
		}
		return nil
	})
}

// Release implements [dedup.Guard].
func (g *Guard) Release(ctx context.Context, claims ...dedup.Claim) error {
	return g.end(ctx, "Release", claims, func(_ int, c dedup.Claim, _ *entry) error {
		delete(g.mu.keys, string(c.Key))
		return nil
	})
}

func (g *Guard) end(ctx context.Context, call string, claims []dedup.Claim, do func(int, dedup.Claim, *entry) error) error {
	if err := g.begin(ctx, call); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for i, c := range claims {
		if c.Verdict != dedup.Fresh {
			continue
		}
		if e := g.heldLocked(c); e == nil {
			errs = append(errs, &dedup.LeaseError{Index: i})
		} else if err := do(i, c, e); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Extend implements [dedup.Guard].
func (g *Guard) Extend(ctx context.Context, c dedup.Claim, d time.Duration) (dedup.Claim, error) {
	if err := g.begin(ctx, "Extend"); err != nil {
		return c, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.heldLocked(c)
	if e == nil {
		return c, dedup.ErrLeaseLost
	}
	if d == 0 {
		d = g.lease()
	}
	e.expires = time.Now().Add(d)
	c.Expires = e.expires
	return c, nil
}
