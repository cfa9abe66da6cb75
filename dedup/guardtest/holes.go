package guardtest

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// holeCases are the known faults of RocketMQDedupListener by number, as far as
// they concern a guard. 8 (parts that are joined without their lengths), 10
// (message ids that change when a message is sent back) and 11 (broadcasting)
// are faults of what makes the key; 9 (nothing purges) shows in a store's size.
var holeCases = []testCase{
	{"Hole01NoOwner", 0, hole01NoOwner},
	{"Hole02ClaimInTwoSteps", 0, hole02ClaimInTwoSteps},
	{"Hole03NoRenewal", 0, extendKeepsTheKey},
	{"Hole04ClientClock", needAhead, hole04ClientClock},
	{"Hole05StoreDown", needDown, hole05StoreDown},
	{"Hole06KeysFoldedAndCut", 0, hole06KeysFoldedAndCut},
	{"Hole07EmptyKey", 0, hole07EmptyKey},
	{"Hole12InFlightWithoutATime", 0, hole12InFlightWithoutATime},
	{"Hole13LostRecords", needLose, hole13LostRecords},
	{"Hole14NoBatch", 0, batchVerdicts},
	{"Hole14NoResult", needResults, resultKept},
}

// hole01NoOwner: a late failure deletes another worker's mark, a late success
// marks a key that another worker holds.
func hole01NoOwner(b *bed) {
	late, owner := b.takeOver("late failure")
	b.commit(b.Peer, owner)
	b.wantLost("the late failure's Release", b.Guard.Release(ctx, late), 0)
	b.claim(b.Guard, "late failure", dedup.Duplicate)

	late, owner = b.takeOver("late success")
	b.wantLost("the late success's Commit", b.Guard.Commit(ctx, late), 0)
	b.claim(b.Guard, "late success", dedup.InFlight)
	b.release(b.Peer, owner)
	b.claim(b.Guard, "late success", dedup.Fresh)
}

// hole02ClaimInTwoSteps: a claim that is written and read in two steps lets
// several through when the lease ends in between. Many ask at that moment.
func hole02ClaimInTwoSteps(b *bed) {
	for round := range 5 {
		key := fmt.Append(nil, "k", round)
		c := b.claim(b.Guard, string(key), dedup.Fresh)
		if b.Advance == nil {
			c = b.extend(b.Guard, c, shortLease)
		}
		b.pass(c.Expires.Sub(b.Now()) - time.Millisecond)
		var fresh atomic.Int32
		giveUp := b.Now().Add(time.Second)
		if b.Advance == nil {
			giveUp = time.Now().Add(patience)
		}
		b.race(16, func(_ int, g dedup.Guard) {
			for fresh.Load() == 0 && b.Now().Before(giveUp) {
				c, err := g.Claim(ctx, key)
				switch {
				case err != nil || c.Verdict == dedup.Unknown || c.Verdict == dedup.Duplicate:
					b.Errorf("Claim: %v, %v", c.Verdict, err)
					return
				case c.Verdict == dedup.Fresh:
					fresh.Add(1)
				case b.Advance != nil:
					b.Advance(time.Millisecond)
				}
			}
		})
		if n := fresh.Load(); n != 1 {
			b.Fatalf("round %d: %d claims were fresh when the lease ended, want 1", round, n)
		}
		b.claim(b.Guard, string(key), dedup.InFlight)
	}
}

// hole04ClientClock: a client whose clock is fast steals live leases.
func hole04ClientClock(b *bed) {
	c := b.claim(b.Guard, "k", dedup.Fresh)
	b.claim(b.Ahead, "k", dedup.InFlight)
	b.commit(b.Guard, c)
	b.claim(b.Ahead, "k", dedup.Duplicate)

	ahead := b.claim(b.Ahead, "theirs", dedup.Fresh)
	b.claim(b.Guard, "theirs", dedup.InFlight)
	b.extend(b.Ahead, ahead, shortLease)
	b.pass(shortLease + time.Millisecond)
	b.claimEnded(b.Guard, "theirs")
	b.claim(b.Guard, "theirs", dedup.InFlight)
}

// hole05StoreDown: without its memory a guard says that it knows nothing; what
// then happens to the message is a policy's business.
func hole05StoreDown(b *bed) {
	b.mark("marked")
	held := b.claim(b.Guard, "held", dedup.Fresh)
	b.Down(b.TB)
	b.wantRefused(b.Guard, held, "marked", "held", "new")
}

// hole06KeysFoldedAndCut: a collation takes ABC for abc and pads with spaces, a
// column's length cuts.
func hole06KeysFoldedAndCut(b *bed) {
	b.mark("order-abc")
	for _, key := range []string{"order-ABC", "order-abc ", "order-abc\x00", "order-\xc3\xa0bc"} {
		b.mark(key)
	}
	same := fmt.Sprintf("%0255d", 7)
	b.mark(same)
	b.mark(same + "1")
	b.mark(same + "2")
	b.claim(b.Guard, "order-abc", dedup.Duplicate)
	b.claim(b.Guard, same+"2", dedup.Duplicate)
}

// hole07EmptyKey: one shared key for all messages without one.
func hole07EmptyKey(b *bed) {
	for range 2 {
		c, err := b.Guard.Claim(ctx, []byte{})
		b.wantIndexes("Claim of an empty key", err, dedup.ErrKeyInvalid, 0)
		if c.Verdict != dedup.Unknown {
			b.Fatalf("an empty key is %v", c.Verdict)
		}
		b.commit(b.Guard, c)
	}
}

// hole12InFlightWithoutATime: who waits for another holder asks again too early
// and spends the message's retries.
func hole12InFlightWithoutATime(b *bed) {
	held := b.extend(b.Guard, b.claim(b.Guard, "k", dedup.Fresh), 7*longLease)
	from := b.Now()
	twin := b.claim(b.Peer, "k", dedup.InFlight)
	b.wantExpires("Expires of a claim in flight", twin.Expires, from, 7*longLease)
	b.commit(b.Guard, held)
}

// hole13LostRecords: a failover or an eviction loses records without a word.
// After it, a key that was marked is never called fresh.
func hole13LostRecords(b *bed) {
	for i := range 20 {
		b.mark(fmt.Sprint("marked", i))
	}
	b.Lose(b.TB)
	for i := range 20 {
		c, err := b.Guard.Claim(ctx, fmt.Append(nil, "marked", i))
		if c.Verdict == dedup.Fresh {
			b.Fatalf("a key whose mark was lost is fresh (%v)", err)
		}
	}
}
