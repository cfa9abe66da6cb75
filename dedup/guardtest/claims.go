package guardtest

import (
	"fmt"

	"github.com/firstseen/firstseen/dedup"
)

// claimCases are the two phases: handle first, mark after.
var claimCases = []testCase{
	{"Claims/FreshThenInFlight", 0, freshThenInFlight},
	{"Claims/CommitMarks", 0, commitMarks},
	{"Claims/ReleaseFrees", 0, releaseFrees},
	{"Claims/OtherVerdictsEndNothing", 0, otherVerdictsEndNothing},
	{"Claims/KeyIsTheCallers", 0, keyIsTheCallers},
	{"Claims/KeysDontMeet", 0, keysDontMeet},
}

func freshThenInFlight(b *bed) {
	from := b.Now()
	c := b.claim(b.Guard, "k", dedup.Fresh)
	b.wantExpires("Expires of a fresh claim", c.Expires, from, longLease)
	for name, g := range map[string]dedup.Guard{"the same client": b.Guard, "another client": b.Peer} {
		again := b.claim(g, "k", dedup.InFlight)
		b.wantExpires("Expires of a claim in flight, seen by "+name+",", again.Expires, from, longLease)
	}
}

func commitMarks(b *bed) {
	c := b.claim(b.Guard, "k", dedup.Fresh)
	b.commit(b.Guard, c)
	for range 3 {
		for _, g := range []dedup.Guard{b.Guard, b.Peer} {
			d := b.claim(g, "k", dedup.Duplicate)
			if !d.Expires.IsZero() && !d.Expires.After(b.Now()) {
				b.Fatalf("a duplicate says that its mark is kept until %v, and it is %v", d.Expires, b.Now())
			}
			if d.Result != nil {
				b.Fatalf("a mark without a result answers with %q", d.Result)
			}
		}
	}
}

func releaseFrees(b *bed) {
	c := b.claim(b.Guard, "k", dedup.Fresh)
	b.release(b.Guard, c)
	again := b.claim(b.Peer, "k", dedup.Fresh)
	if again.Token == c.Token {
		b.Fatal("the second claim has the token of the first")
	}
	b.commit(b.Peer, again)
	b.claim(b.Guard, "k", dedup.Duplicate)
}

// otherVerdictsEndNothing: a whole batch can be given to Commit or Release.
func otherVerdictsEndNothing(b *bed) {
	b.mark("done")
	held := b.claim(b.Peer, "held", dedup.Fresh)
	others := []dedup.Claim{
		b.claim(b.Guard, "done", dedup.Duplicate),
		b.claim(b.Guard, "held", dedup.InFlight),
		{Key: []byte("unknown")},
		{},
	}
	b.commit(b.Guard, others...)
	b.release(b.Guard, others...)
	for _, c := range others {
		if _, err := b.Guard.Extend(ctx, c, 0); c.Key != nil {
			b.wantIs(fmt.Sprintf("Extend of a claim that is %v", c.Verdict), err, dedup.ErrLeaseLost)
		}
	}
	b.claim(b.Guard, "done", dedup.Duplicate)
	b.claim(b.Guard, "held", dedup.InFlight)
	b.claim(b.Guard, "unknown", dedup.Fresh)
	b.commit(b.Peer, held)
}

// keyIsTheCallers: Claim.Key is the caller's slice, and after the claim's end
// the guard doesn't look at it again.
func keyIsTheCallers(b *bed) {
	key := []byte("first-key-of-some-length")
	c, err := b.Guard.Claim(ctx, key)
	if err != nil || c.Verdict != dedup.Fresh {
		b.Fatalf("Claim: %v, %v", c.Verdict, err)
	}
	if len(c.Key) != len(key) || &c.Key[0] != &key[0] {
		b.Fatal("Claim.Key is not the slice that the caller gave")
	}
	b.commit(b.Guard, c)
	copy(key, "other")
	b.claim(b.Guard, "other-key-of-some-length", dedup.Fresh)
	b.claim(b.Guard, "first-key-of-some-length", dedup.Duplicate)
}

func keysDontMeet(b *bed) {
	first, second := b.claim(b.Guard, "one", dedup.Fresh), b.claim(b.Guard, "two", dedup.Fresh)
	b.commit(b.Guard, first)
	b.release(b.Guard, second)
	b.claim(b.Guard, "one", dedup.Duplicate)
	b.claim(b.Guard, "two", dedup.Fresh)
	b.claim(b.Guard, "three", dedup.Fresh)
}
