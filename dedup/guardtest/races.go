package guardtest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/dedup"
)

// raceCases: many goroutines at once, half of them on the peer.
var raceCases = []testCase{
	{"Races/OneWinner", 0, oneWinner},
	{"Races/OneWinnerOfBatches", 0, oneWinnerOfBatches},
	{"Races/OneHolderAtATime", 0, oneHolderAtATime},
	{"Races/OneEndOfAClaim", 0, oneEndOfAClaim},
}

const racers = 64

// race runs f in many goroutines that start together and waits for them.
func (b *bed) race(n int, f func(i int, g dedup.Guard)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		g := b.Guard
		if i%2 == 1 {
			g = b.Peer
		}
		wg.Go(func() {
			<-start
			f(i, g)
		})
	}
	close(start)
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

func oneWinner(b *bed) {
	keys := keysOf("race", 24)
	winners := make([]atomic.Int32, len(keys))
	b.race(racers, func(i int, g dedup.Guard) {
		for n := range keys {
			at := (n + i/8) % len(keys)
			c, err := g.Claim(ctx, keys[at])
			switch {
			case err != nil:
				b.Errorf("Claim: %v", err)
				return
			case c.Verdict == dedup.Fresh:
				winners[at].Add(1)
				if err := g.Commit(ctx, c); err != nil {
					b.Errorf("the winner's Commit: %v", err)
				}
			case c.Verdict == dedup.Unknown:
				b.Errorf("a claim is %v", c.Verdict)
			}
		}
	})
	for at := range winners {
		if n := winners[at].Load(); n != 1 {
			b.Errorf("key %d was fresh for %d goroutines, want 1", at, n)
		}
	}
	b.claimAll(b.Guard, keys, dedup.Duplicate)
}

// oneWinnerOfBatches: batches that overlap, each in an order of its own, so that
// a guard which locks key by key deadlocks here.
func oneWinnerOfBatches(b *bed) {
	keys := keysOf("batch", 200)
	winners := make([]atomic.Int32, len(keys))
	b.race(16, func(i int, g dedup.Guard) {
		order := rand.New(rand.NewPCG(uint64(i), 7)).Perm(len(keys))
		for part := range slices.Chunk(order, 50) {
			mine := make([][]byte, len(part))
			for n, at := range part {
				mine[n] = keys[at]
			}
			cs, err := g.ClaimBatch(ctx, nil, mine)
			if err != nil {
				b.Errorf("ClaimBatch: %v", err)
				return
			}
			for n, c := range cs {
				if c.Verdict == dedup.Fresh {
					winners[part[n]].Add(1)
				}
			}
			if err := g.Commit(ctx, cs...); err != nil {
				b.Errorf("Commit: %v", err)
			}
		}
	})
	for at := range winners {
		if n := winners[at].Load(); n != 1 {
			b.Errorf("key %d was fresh for %d goroutines, want 1", at, n)
		}
	}
	b.claimAll(b.Peer, keys, dedup.Duplicate)
}

// oneHolderAtATime: a key that goes from hand to hand by Release is never in
// two hands.
func oneHolderAtATime(b *bed) {
	var holders, got atomic.Int32
	b.race(16, func(_ int, g dedup.Guard) {
		for range 30 {
			c, err := g.Claim(ctx, []byte("k"))
			if err != nil {
				b.Errorf("Claim: %v", err)
				return
			}
			if c.Verdict != dedup.Fresh {
				continue
			}
			got.Add(1)
			if n := holders.Add(1); n != 1 {
				b.Errorf("%d goroutines hold one key", n)
			}
			holders.Add(-1)
			if err := g.Release(ctx, c); err != nil {
				b.Errorf("Release: %v", err)
			}
		}
	})
	if got.Load() == 0 {
		b.Errorf("nobody got the key")
	}
	b.claim(b.Guard, "k", dedup.Fresh)
}

// oneEndOfAClaim: of many calls that end the same claim exactly one does.
func oneEndOfAClaim(b *bed) {
	keys := keysOf("end", 20)
	cs := b.claimAll(b.Guard, keys, dedup.Fresh)
	committed, released := make([]atomic.Int32, len(cs)), make([]atomic.Int32, len(cs))
	b.race(8, func(i int, _ dedup.Guard) {
		for at, c := range cs {
			end, count := b.Guard.Commit, &committed[at]
			if i%4 < 2 {
				end, count = b.Guard.Release, &released[at]
			}
			if err := end(ctx, c); err == nil {
				count.Add(1)
			} else if !slices.Equal(dedup.IndexesOf(err, dedup.ErrLeaseLost), []int{0}) {
				b.Errorf("a claim that somebody else ended gives %v", err)
			}
		}
	})
	for at := range cs {
		n, m := committed[at].Load(), released[at].Load()
		if n+m != 1 {
			b.Fatalf("claim %d was committed %d times and released %d times, want one of both", at, n, m)
		}
		want := dedup.Fresh
		if n == 1 {
			want = dedup.Duplicate
		}
		b.claim(b.Peer, string(keys[at]), want)
	}
}
