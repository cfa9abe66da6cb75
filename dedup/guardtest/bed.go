package guardtest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

var ctx = context.Background()

// A bed is what one case stands on. Its methods that return no error end the
// case when something fails; they are for the case's own goroutine.
type bed struct {
	testing.TB
	Config
	Subject
}

func (b *bed) use(s Subject) {
	b.Helper()
	if s.Guard == nil {
		b.Fatal("guardtest: Subject.Guard is required")
	}
	if s.Peer == nil {
		s.Peer = s.Guard
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	b.Subject = s
}

// claim asks g for key and wants a verdict, without an error.
func (b *bed) claim(g dedup.Guard, key string, want dedup.Verdict) dedup.Claim {
	b.Helper()
	c, err := g.Claim(ctx, []byte(key))
	if err != nil {
		b.Fatalf("Claim(%s): %v", short(key), err)
	}
	if c.Verdict != want {
		b.Fatalf("Claim(%s) is %v, want %v", short(key), c.Verdict, want)
	}
	b.wellFormed(c, []byte(key))
	return c
}

// wellFormed checks what holds of every claim that a guard hands out.
func (b *bed) wellFormed(c dedup.Claim, key []byte) {
	b.Helper()
	if !bytes.Equal(c.Key, key) {
		b.Fatalf("the claim of %s has the key %s", short(string(key)), short(string(c.Key)))
	}
	fresh := c.Verdict == dedup.Fresh
	if fresh == (c.Token == dedup.Token{}) {
		b.Fatalf("the claim of %s is %v and has the token %v", short(string(key)), c.Verdict, c.Token)
	}
	if (fresh || c.Verdict == dedup.InFlight) && c.Expires.IsZero() {
		b.Fatalf("the claim of %s is %v and has no Expires", short(string(key)), c.Verdict)
	}
	if c.Unguarded {
		b.Fatalf("the claim of %s is Unguarded, and the guard could be asked", short(string(key)))
	}
	if c.Result != nil && c.Verdict != dedup.Duplicate {
		b.Fatalf("the claim of %s is %v and has a result", short(string(key)), c.Verdict)
	}
}

// claimAll claims a batch and wants one verdict for all keys.
func (b *bed) claimAll(g dedup.Guard, keys [][]byte, want dedup.Verdict) []dedup.Claim {
	b.Helper()
	cs, err := g.ClaimBatch(ctx, nil, keys)
	if err != nil {
		b.Fatalf("ClaimBatch of %d keys: %v", len(keys), err)
	}
	if len(cs) != len(keys) {
		b.Fatalf("ClaimBatch of %d keys gave %d claims", len(keys), len(cs))
	}
	for i, c := range cs {
		if c.Verdict != want {
			b.Fatalf("key %d of the batch, %s, is %v, want %v", i, short(string(keys[i])), c.Verdict, want)
		}
		b.wellFormed(c, keys[i])
	}
	return cs
}

func (b *bed) commit(g dedup.Guard, cs ...dedup.Claim) {
	b.Helper()
	if err := g.Commit(ctx, cs...); err != nil {
		b.Fatalf("Commit: %v", err)
	}
}

func (b *bed) release(g dedup.Guard, cs ...dedup.Claim) {
	b.Helper()
	if err := g.Release(ctx, cs...); err != nil {
		b.Fatalf("Release: %v", err)
	}
}

func (b *bed) extend(g dedup.Guard, c dedup.Claim, d time.Duration) dedup.Claim {
	b.Helper()
	longer, err := g.Extend(ctx, c, d)
	if err != nil {
		b.Fatalf("Extend by %v: %v", d, err)
	}
	return longer
}

// mark makes a key a duplicate.
func (b *bed) mark(key string) {
	b.Helper()
	b.commit(b.Guard, b.claim(b.Guard, key, dedup.Fresh))
}

// wantLost wants err to name exactly the claims at these positions as lost.
func (b *bed) wantLost(doing string, err error, at ...int) {
	b.Helper()
	b.wantIndexes(doing, err, dedup.ErrLeaseLost, at...)
}

func (b *bed) wantIndexes(doing string, err, target error, at ...int) {
	b.Helper()
	if !errors.Is(err, target) {
		b.Fatalf("%s: the error is %v, want one that wraps %q", doing, err, target)
	}
	if got := slices.Sorted(slices.Values(dedup.IndexesOf(err, target))); !slices.Equal(got, at) {
		b.Fatalf("%s: %v names the positions %v, want %v", doing, err, got, at)
	}
}

// wantExpires wants t to be d from now, with room for the calls since and for
// clocks that were translated.
func (b *bed) wantExpires(what string, t time.Time, from time.Time, d time.Duration) {
	b.Helper()
	const room = 2 * time.Second
	if t.Before(from.Add(d-room)) || t.After(b.Now().Add(d+room)) {
		b.Fatalf("%s is %v from now, want %v", what, t.Sub(b.Now()), d)
	}
}

// pass lets d go by.
func (b *bed) pass(d time.Duration) {
	if b.Advance != nil {
		b.Advance(d)
		return
	}
	if d > 0 {
		<-time.After(d)
	}
}

// end makes a claim's lease end. Under a real clock it is shortened before.
func (b *bed) end(g dedup.Guard, c dedup.Claim) dedup.Claim {
	b.Helper()
	if b.Advance == nil {
		c = b.extend(g, c, shortLease)
	}
	b.pass(c.Expires.Sub(b.Now()) + time.Millisecond)
	return c
}

// claimEnded claims a key whose lease has ended. Under a real clock it asks
// again: the guard's clock and ours differ.
func (b *bed) claimEnded(g dedup.Guard, key string) dedup.Claim {
	b.Helper()
	for giveUp := time.Now().Add(patience); b.Advance == nil && time.Now().Before(giveUp); {
		c, err := g.Claim(ctx, []byte(key))
		if err == nil && c.Verdict == dedup.InFlight {
			b.pass(5 * time.Millisecond)
			continue
		}
		if err != nil || c.Verdict != dedup.Fresh {
			b.Fatalf("the claim of %s, whose lease has ended, is %v (%v), want fresh", short(key), c.Verdict, err)
		}
		b.wellFormed(c, []byte(key))
		return c
	}
	return b.claim(g, key, dedup.Fresh)
}

// takeOver claims a key, lets the lease end and has the peer claim it.
func (b *bed) takeOver(key string) (stale, owner dedup.Claim) {
	b.Helper()
	stale = b.end(b.Guard, b.claim(b.Guard, key, dedup.Fresh))
	owner = b.claimEnded(b.Peer, key)
	if owner.Token == stale.Token {
		b.Fatalf("the second claim of %s has the token of the first", short(key))
	}
	return stale, owner
}
