package guardtest

import (
	"bytes"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// leaseCases: how long a claim holds.
var leaseCases = []testCase{
	{"Leases/EndByThemselves", 0, leasesEndByThemselves},
	{"Leases/EndAfterExtend", 0, leasesEndAfterExtend},
	{"Leases/LateCommit", 0, lateCommit},
	{"Leases/LateRelease", 0, lateRelease},
	{"Leases/LateExtend", 0, lateExtend},
	{"Leases/ExtendKeepsTheKey", 0, extendKeepsTheKey},
	{"Leases/ExtendToTheGuardsOwn", 0, extendToTheGuardsOwn},
}

// leasesEndByThemselves: after the lease that the guard was made with, and,
// where the clock is ours, not before.
func leasesEndByThemselves(b *bed) {
	lease := longLease
	if b.Advance == nil {
		lease = 4 * shortLease
		b.use(b.New(b.TB, lease))
	}
	from := b.Now()
	c := b.claim(b.Guard, "k", dedup.Fresh)
	b.wantExpires("Expires", c.Expires, from, lease)
	if b.Advance != nil {
		b.pass(c.Expires.Sub(b.Now()) - time.Millisecond)
		b.claim(b.Peer, "k", dedup.InFlight)
	}
	b.pass(c.Expires.Sub(b.Now()) + time.Millisecond)
	b.claimEnded(b.Peer, "k")
}

func leasesEndAfterExtend(b *bed) {
	c := b.claim(b.Guard, "k", dedup.Fresh)
	c = b.extend(b.Guard, c, shortLease)
	b.pass(c.Expires.Sub(b.Now()) + time.Millisecond)
	again := b.claimEnded(b.Peer, "k")
	b.wantStale(c)
	b.commit(b.Peer, again)
}

// lateCommit: the handler did its work, nobody else took the key, and a mark is
// the best that can follow.
func lateCommit(b *bed) {
	c := b.end(b.Guard, b.claim(b.Guard, "k", dedup.Fresh))
	b.commit(b.Guard, c)
	b.claim(b.Peer, "k", dedup.Duplicate)
}

func lateRelease(b *bed) {
	c := b.end(b.Guard, b.claim(b.Guard, "k", dedup.Fresh))
	b.release(b.Guard, c)
	b.claim(b.Peer, "k", dedup.Fresh)
}

func lateExtend(b *bed) {
	c := b.end(b.Guard, b.claim(b.Guard, "k", dedup.Fresh))
	c = b.extend(b.Guard, c, longLease)
	b.claim(b.Peer, "k", dedup.InFlight)
	b.commit(b.Guard, c)
	b.claim(b.Peer, "k", dedup.Duplicate)
}

func extendKeepsTheKey(b *bed) {
	c := b.claim(b.Guard, "k", dedup.Fresh)
	if b.Advance == nil {
		c = b.extend(b.Guard, c, shortLease)
	}
	ends := c.Expires
	from := b.Now()
	longer := b.extend(b.Guard, c, 3*longLease)
	b.wantExpires("Expires after Extend", longer.Expires, from, 3*longLease)
	if longer.Verdict != dedup.Fresh || longer.Token != c.Token || !bytes.Equal(longer.Key, c.Key) {
		b.Fatalf("Extend made %+v of %+v", longer, c)
	}
	b.pass(ends.Sub(b.Now()) + time.Millisecond)
	b.claim(b.Peer, "k", dedup.InFlight)
	// The claim that was given to Extend ends it as well as the one it returned.
	b.commit(b.Guard, c)
	b.claim(b.Peer, "k", dedup.Duplicate)
}

func extendToTheGuardsOwn(b *bed) {
	c := b.extend(b.Guard, b.claim(b.Guard, "k", dedup.Fresh), 10*longLease)
	from := b.Now()
	c = b.extend(b.Guard, c, 0)
	b.wantExpires("Expires after Extend with 0", c.Expires, from, longLease)
	b.commit(b.Guard, c)
}
