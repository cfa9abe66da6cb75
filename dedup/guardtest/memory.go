package guardtest

import (
	"slices"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// memoryCases: what is remembered, for how long, and how it is taken back.
var memoryCases = []testCase{
	{"Memory/Reopen", needReopen, reopen},
	{"Memory/ReopenEndsNoMark", needReopen, reopenWithClaims},
	{"Memory/Contains", needContains, contains},
	{"Memory/Forget", needForget, forget},
	{"Memory/ForgetBadKey", needForget, forgetBadKey},
	{"Memory/Window", needWindow, window},
	{"Memory/DuplicateExpires", needWindow, duplicateExpires},
}

func (b *bed) reopen() {
	b.Helper()
	b.use(b.Reopen(b.TB))
}

func reopen(b *bed) {
	keys := bytesOf(differentKeys()...)
	half := len(keys) / 2
	b.commit(b.Guard, b.claimAll(b.Guard, keys[:half], dedup.Fresh)...)
	b.release(b.Guard, b.claimAll(b.Guard, keys[half:], dedup.Fresh)...)
	for range 2 {
		b.reopen()
		b.claimAll(b.Guard, keys[:half], dedup.Duplicate)
		b.release(b.Guard, b.claimAll(b.Guard, keys[half:], dedup.Fresh)...)
	}
}

// reopenWithClaims: a claim may end with the process that held it or stand until
// its lease ends. It never ends a claim of another's, and never becomes a mark.
func reopenWithClaims(b *bed) {
	c := b.claim(b.Guard, "k", dedup.Fresh)
	if b.Advance == nil {
		c = b.extend(b.Guard, c, shortLease)
	}
	b.reopen()
	b.pass(c.Expires.Sub(b.Now()) + time.Millisecond)
	owner := b.claimEnded(b.Guard, "k")
	b.wantStale(c)
	b.claim(b.Guard, "k", dedup.InFlight)
	b.commit(b.Guard, owner)
	b.claim(b.Guard, "k", dedup.Duplicate)
}

func (b *bed) wantContains(key string, want bool) {
	b.Helper()
	got, err := b.Contains(ctx, []byte(key))
	if err != nil || got != want {
		b.Fatalf("Contains(%s) is %v (%v), want %v", short(key), got, err, want)
	}
}

// contains: claims are no marks, and looking marks nothing.
func contains(b *bed) {
	b.wantContains("k", false)
	c := b.claim(b.Guard, "k", dedup.Fresh)
	b.wantContains("k", false)
	b.commit(b.Guard, c)
	b.wantContains("k", true)
	b.wantContains("K", false)
	b.release(b.Guard, b.claim(b.Guard, "released", dedup.Fresh))
	b.wantContains("released", false)
	_, err := b.Contains(ctx, nil)
	b.wantIs("Contains of an empty key", err, dedup.ErrKeyInvalid)
}

func (b *bed) forget(key string) {
	b.Helper()
	if err := b.Forget(ctx, []byte(key)); err != nil {
		b.Fatalf("Forget(%s): %v", short(key), err)
	}
}

func forget(b *bed) {
	b.mark("k")
	b.mark("other")
	b.forget("k")
	b.forget("never seen")
	b.claim(b.Peer, "other", dedup.Duplicate)
	again := b.claim(b.Peer, "k", dedup.Fresh)
	b.commit(b.Peer, again)
	b.claim(b.Guard, "k", dedup.Duplicate)
}

func forgetBadKey(b *bed) {
	for _, key := range [][]byte{nil, make([]byte, dedup.MaxKeyLen+1)} {
		b.wantIs("Forget of an invalid key", b.Forget(ctx, key), dedup.ErrKeyInvalid)
	}
}

// window: a mark is kept for the whole window, counted from the last commit,
// and not for ever.
func window(b *bed) {
	b.mark("k")
	step := b.Window / 16
	for range 15 {
		b.pass(step)
		b.claim(b.Guard, "k", dedup.Duplicate)
	}
	b.pass(b.Forgotten - 15*step + time.Millisecond)
	b.commit(b.Guard, b.claim(b.Guard, "k", dedup.Fresh))
	b.pass(b.Window - time.Millisecond)
	b.claim(b.Guard, "k", dedup.Duplicate)
}

// duplicateExpires: whoever caches a duplicate until its Expires is never wrong.
func duplicateExpires(b *bed) {
	b.mark("k")
	b.pass(b.Window / 2)
	d := b.claim(b.Guard, "k", dedup.Duplicate)
	if d.Expires.IsZero() {
		return
	}
	b.pass(d.Expires.Sub(b.Now()) - time.Millisecond)
	b.claim(b.Guard, "k", dedup.Duplicate)
}

// wantRefused checks that a guard which can't reach its memory says so: nothing
// is fresh, nothing is a duplicate, and no claim ends.
func (b *bed) wantRefused(g dedup.Guard, held dedup.Claim, keys ...string) {
	b.Helper()
	for _, key := range keys {
		if c, err := g.Claim(ctx, []byte(key)); err == nil || c.Verdict != dedup.Unknown || c.Token != (dedup.Token{}) {
			b.Fatalf("Claim(%s) without a memory is %v (%v), want unknown and an error", short(key), c.Verdict, err)
		}
	}
	cs, err := g.ClaimBatch(ctx, nil, bytesOf(keys...))
	if err == nil || len(cs) != len(keys) {
		b.Fatalf("ClaimBatch of %d keys without a memory gave %d claims and the error %v", len(keys), len(cs), err)
	}
	b.wantVerdicts(cs, slices.Repeat([]dedup.Verdict{dedup.Unknown}, len(keys))...)
	if err := g.Commit(ctx, held); err == nil {
		b.Fatal("Commit without a memory gave no error")
	}
	if err := g.Release(ctx, held); err == nil {
		b.Fatal("Release without a memory gave no error")
	}
	if _, err := g.Extend(ctx, held, 0); err == nil {
		b.Fatal("Extend without a memory gave no error")
	}
}
