package guardtest

import (
	"errors"

	"github.com/firstseen/firstseen/dedup"
)

// tokenCases: a token, not a key, ends a claim.
var tokenCases = []testCase{
	{"Tokens/StaleOwnerChangesNothing", 0, staleOwnerChangesNothing},
	{"Tokens/StaleOwnerAfterTheMark", 0, staleOwnerAfterTheMark},
	{"Tokens/StaleOwnerAfterRelease", 0, staleOwnerAfterRelease},
	{"Tokens/EndedOnce", 0, endedOnce},
	{"Tokens/SameClaimTwiceInOneCall", 0, sameClaimTwiceInOneCall},
	{"Tokens/LostClaimsAreNamed", 0, lostClaimsAreNamed},
	{"Tokens/MadeUpTokens", 0, madeUpTokens},
}

func (b *bed) wantIs(doing string, err, target error) {
	b.Helper()
	if !errors.Is(err, target) {
		b.Fatalf("%s: the error is %v, want one that wraps %q", doing, err, target)
	}
}

// wantStale checks that a claim ends nothing any more, in every way.
func (b *bed) wantStale(c dedup.Claim) {
	b.Helper()
	b.wantLost("Commit of a stale claim", b.Guard.Commit(ctx, c), 0)
	b.wantLost("Release of a stale claim", b.Guard.Release(ctx, c), 0)
	_, err := b.Guard.Extend(ctx, c, longLease)
	b.wantIs("Extend of a stale claim", err, dedup.ErrLeaseLost)
}

func staleOwnerChangesNothing(b *bed) {
	stale, owner := b.takeOver("k")
	b.wantStale(stale)
	b.claim(b.Guard, "k", dedup.InFlight)
	b.release(b.Peer, owner)
	b.claim(b.Guard, "k", dedup.Fresh)
}

func staleOwnerAfterTheMark(b *bed) {
	stale, owner := b.takeOver("k")
	b.commit(b.Peer, owner)
	b.wantStale(stale)
	b.claim(b.Guard, "k", dedup.Duplicate)
}

func staleOwnerAfterRelease(b *bed) {
	stale, owner := b.takeOver("k")
	b.release(b.Peer, owner)
	b.wantStale(stale)
	b.claim(b.Guard, "k", dedup.Fresh)
}

func endedOnce(b *bed) {
	c := b.claim(b.Guard, "committed", dedup.Fresh)
	b.commit(b.Guard, c)
	b.wantStale(c)
	b.claim(b.Guard, "committed", dedup.Duplicate)

	c = b.claim(b.Guard, "released", dedup.Fresh)
	b.release(b.Guard, c)
	b.wantStale(c)
	b.claim(b.Guard, "released", dedup.Fresh)
}

func sameClaimTwiceInOneCall(b *bed) {
	c, other := b.claim(b.Guard, "k", dedup.Fresh), b.claim(b.Guard, "other", dedup.Fresh)
	b.wantLost("Commit of the same claim twice", b.Guard.Commit(ctx, c, other, c), 2)
	b.claim(b.Guard, "k", dedup.Duplicate)
	b.claim(b.Guard, "other", dedup.Duplicate)

	c = b.claim(b.Guard, "released", dedup.Fresh)
	b.wantLost("Release of the same claim twice", b.Guard.Release(ctx, c, c), 1)
	b.claim(b.Guard, "released", dedup.Fresh)
}

// lostClaimsAreNamed: each lost claim of a call by its position among all
// claims given, and the others end all the same.
func lostClaimsAreNamed(b *bed) {
	end := map[string]struct {
		call func(cs ...dedup.Claim) error
		then dedup.Verdict
	}{
		"Commit":  {func(cs ...dedup.Claim) error { return b.Guard.Commit(ctx, cs...) }, dedup.Duplicate},
		"Release": {func(cs ...dedup.Claim) error { return b.Guard.Release(ctx, cs...) }, dedup.Fresh},
	}
	for doing, end := range end {
		cs := b.claimAll(b.Guard, keysOf(doing, 8), dedup.Fresh)
		dup := b.claim(b.Guard, doing+"0", dedup.InFlight)
		b.release(b.Guard, cs[2], cs[5])
		given := []dedup.Claim{cs[0], dup, cs[1], cs[2], cs[3], cs[4], cs[5], cs[6]}
		b.wantLost(doing, end.call(given...), 3, 6)
		for i, c := range cs {
			want := end.then
			switch i {
			case 2, 5:
				want = dedup.Fresh
			case 7:
				want = dedup.InFlight
			}
			b.claim(b.Guard, string(c.Key), want)
		}
	}
}

func madeUpTokens(b *bed) {
	c := b.claim(b.Guard, "k", dedup.Fresh)
	almost := c.Token
	almost[len(almost)-1] ^= 1
	first := c.Token
	first[0] ^= 0x80
	for _, token := range []dedup.Token{{}, almost, first, {15: 0xff}, {5, 4, 3, 2, 1, 0, 9, 8, 7}} {
		b.wantStale(dedup.Claim{Key: []byte("k"), Verdict: dedup.Fresh, Token: token, Expires: c.Expires})
	}
	b.wantStale(dedup.Claim{Key: []byte("nobody's"), Verdict: dedup.Fresh, Token: dedup.Token{3: 7}, Expires: c.Expires})
	b.claim(b.Guard, "k", dedup.InFlight)
	b.claim(b.Guard, "nobody's", dedup.Fresh)
	b.commit(b.Guard, c)
}
