package guardtest

import (
	"context"
	"errors"

	"github.com/firstseen/firstseen/dedup"
)

// contextCases: what an ended context may do. The contexts here end before the
// call, so that the outcome is certain.
var contextCases = []testCase{
	{"Contexts/ClaimWithAnEndedOne", 0, claimWithEndedContext},
	{"Contexts/CommitWithAnEndedOne", 0, commitWithEndedContext},
	{"Contexts/ReleaseWithAnEndedOne", 0, releaseWithEndedContext},
	{"Contexts/ClaimOutlivesItsOwn", 0, claimOutlivesItsContext},
}

func ended() context.Context {
	c, cancel := context.WithCancel(ctx)
	cancel()
	return c
}

// claimWithEndedContext: nothing is known, so the answer is Unknown and an
// error; and nothing was done, since the context had ended before.
func claimWithEndedContext(b *bed) {
	c, err := b.Guard.Claim(ended(), []byte("k"))
	if !errors.Is(err, context.Canceled) || c.Verdict != dedup.Unknown || c.Token != (dedup.Token{}) {
		b.Fatalf("Claim with an ended context is %v with the token %v and the error %v", c.Verdict, c.Token, err)
	}
	before := []dedup.Claim{{Key: []byte("before")}}
	cs, err := b.Guard.ClaimBatch(ended(), before, bytesOf("k", "l"))
	if !errors.Is(err, context.Canceled) || len(cs) != 3 {
		b.Fatalf("ClaimBatch with an ended context gave %d claims, want 3, and the error %v", len(cs), err)
	}
	b.wantVerdicts(cs[1:], dedup.Unknown, dedup.Unknown)
	b.claim(b.Guard, "k", dedup.Fresh)
	b.claim(b.Guard, "l", dedup.Fresh)
}

// endWithEndedContext calls end with an ended context. A guard that has to wait
// may say so, and then the claim stands; one that has not ends the claim.
func (b *bed) endWithEndedContext(doing string, end func(context.Context) error) {
	b.Helper()
	err := end(ended())
	if err == nil {
		return
	}
	if !errors.Is(err, context.Canceled) {
		b.Fatalf("%s with an ended context: %v", doing, err)
	}
	if err := end(ctx); err != nil {
		b.Fatalf("%s, after it gave up for its context: %v", doing, err)
	}
}

func commitWithEndedContext(b *bed) {
	c := b.claim(b.Guard, "k", dedup.Fresh)
	b.endWithEndedContext("Commit", func(ctx context.Context) error { return b.Guard.Commit(ctx, c) })
	b.claim(b.Peer, "k", dedup.Duplicate)
}

func releaseWithEndedContext(b *bed) {
	c := b.claim(b.Guard, "k", dedup.Fresh)
	b.endWithEndedContext("Release", func(ctx context.Context) error { return b.Guard.Release(ctx, c) })
	b.claim(b.Peer, "k", dedup.Fresh)
}

// claimOutlivesItsContext: a claim is held by its token, not by the context of
// the call that made it.
func claimOutlivesItsContext(b *bed) {
	short, cancel := context.WithCancel(ctx)
	c, err := b.Guard.Claim(short, []byte("k"))
	cancel()
	if err != nil || c.Verdict != dedup.Fresh {
		b.Fatalf("Claim: %v, %v", c.Verdict, err)
	}
	b.claim(b.Peer, "k", dedup.InFlight)
	b.commit(b.Guard, c)
	b.claim(b.Peer, "k", dedup.Duplicate)
}
