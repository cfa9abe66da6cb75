package guardtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// resultCases: answers that are kept with their marks.
var resultCases = []testCase{
	{"Results/Kept", needResults, resultKept},
	{"Results/Batch", needResults, resultBatch},
	{"Results/Lengths", needResults, resultLengths},
	{"Results/TooLarge", needResults, resultTooLarge},
	{"Results/TooLargeInABatch", needResults, resultTooLargeInABatch},
	{"Results/BelongToTheCaller", needResults, resultBelongsToTheCaller},
	{"Results/NotBeforeTheMark", needResults, resultNotBeforeTheMark},
	{"Results/WinnersStays", needResults, winnersResultStays},
	{"Results/EndWithForget", needResults | needForget, resultEndsWithForget},
	{"Results/EndWithTheWindow", needResults | needWindow, resultEndsWithTheWindow},
	{"Results/Reopen", needResults | needReopen, resultReopen},
	{"Results/Races", needResults, resultRaces},
	{"Results/Unwanted", needNoResults, resultUnwanted},
}

// markWith marks a key with a result.
func (b *bed) markWith(key string, result []byte) {
	b.Helper()
	c := b.claim(b.Guard, key, dedup.Fresh)
	c.Result = result
	b.commit(b.Guard, c)
}

// wantResult wants a duplicate with this result.
func (b *bed) wantResult(g dedup.Guard, key string, want []byte) {
	b.Helper()
	c := b.claim(g, key, dedup.Duplicate)
	if !bytes.Equal(c.Result, want) {
		b.Fatalf("the result of %s is %s, want %s", short(key), short(string(c.Result)), short(string(want)))
	}
}

// wantTooLarge wants a duplicate whose result was too large.
func (b *bed) wantTooLarge(g dedup.Guard, key string) {
	b.Helper()
	c, err := g.Claim(ctx, []byte(key))
	if c.Verdict != dedup.Duplicate || c.Result != nil {
		b.Fatalf("a key whose result was too large is %v with %d bytes, want a duplicate without", c.Verdict, len(c.Result))
	}
	b.wantIndexes("Claim of a key whose result was too large", err, dedup.ErrResultTooLarge, 0)
}

func resultKept(b *bed) {
	b.markWith("k", []byte("answer"))
	b.markWith("other", []byte{0, 0xff, 0})
	b.markWith("none", []byte{})
	for range 3 {
		b.wantResult(b.Guard, "k", []byte("answer"))
		b.wantResult(b.Peer, "k", []byte("answer"))
		b.wantResult(b.Peer, "other", []byte{0, 0xff, 0})
		if c := b.claim(b.Peer, "none", dedup.Duplicate); c.Result != nil {
			b.Fatalf("an empty result comes back as %q, want nil", c.Result)
		}
	}
}

func resultBatch(b *bed) {
	keys := keysOf("batch", 100)
	cs := b.claimAll(b.Guard, keys, dedup.Fresh)
	for i := range cs {
		if i%3 != 0 {
			cs[i].Result = fmt.Append(nil, "result of ", i)
		}
	}
	b.commit(b.Guard, cs...)
	for _, g := range []dedup.Guard{b.Guard, b.Peer} {
		for i, c := range b.claimAll(g, keys, dedup.Duplicate) {
			if want := cs[i].Result; !bytes.Equal(c.Result, want) || (want == nil) != (c.Result == nil) {
				b.Fatalf("the result of key %d is %q, want %q", i, c.Result, want)
			}
		}
	}
	// Among keys with other verdicts each result stands at its own place.
	mixed, err := b.Guard.ClaimBatch(ctx, nil, [][]byte{[]byte("new"), keys[1], keys[0], []byte("new"), keys[2]})
	if err != nil {
		b.Fatal(err)
	}
	d := dedup.Duplicate
	b.wantVerdicts(mixed, dedup.Fresh, d, d, dedup.InFlight, d)
	for at, want := range []string{"", "result of 1", "", "", "result of 2"} {
		if string(mixed[at].Result) != want {
			b.Fatalf("the result at %d is %q, want %q", at, mixed[at].Result, want)
		}
	}
}

func resultLengths(b *bed) {
	for _, n := range []int{1, 2, b.MaxResult / 2, b.MaxResult - 1, b.MaxResult} {
		if n < 1 {
			continue
		}
		result := bytes.Repeat([]byte{byte(n), 'r'}, n)[:n]
		b.markWith(fmt.Sprint("of length ", n), result)
		b.wantResult(b.Peer, fmt.Sprint("of length ", n), result)
	}
}

// resultTooLarge: the effect has happened, so the key is marked, and everybody
// is told that its answer is not there.
func resultTooLarge(b *bed) {
	c := b.claim(b.Guard, "k", dedup.Fresh)
	c.Result = make([]byte, b.MaxResult+1)
	b.wantIndexes("Commit with a result that is too large", b.Guard.Commit(ctx, c), dedup.ErrResultTooLarge, 0)
	b.wantTooLarge(b.Guard, "k")
	b.wantTooLarge(b.Peer, "k")
	b.wantStale(c)
}

// resultUnwanted: to a guard that keeps none each result is too large.
func resultUnwanted(b *bed) {
	cs := b.claimAll(b.Guard, bytesOf("k", "none"), dedup.Fresh)
	cs[0].Result = []byte("r")
	b.wantIndexes("Commit with a result that nobody keeps", b.Guard.Commit(ctx, cs...), dedup.ErrResultTooLarge, 0)
	if b.ToldOnce {
		b.claim(b.Guard, "k", dedup.Duplicate)
	} else {
		b.wantTooLarge(b.Guard, "k")
		b.wantTooLarge(b.Peer, "k")
	}
	b.claim(b.Guard, "none", dedup.Duplicate)
}

func resultTooLargeInABatch(b *bed) {
	keys := keysOf("k", 5)
	cs := b.claimAll(b.Guard, keys, dedup.Fresh)
	cs[0].Result = []byte("zero")
	cs[1].Result = make([]byte, b.MaxResult+1)
	b.release(b.Guard, cs[2])
	cs[3].Result = make([]byte, b.MaxResult+7)
	cs[4].Result = []byte("four")
	err := b.Guard.Commit(ctx, cs...)
	b.wantIndexes("Commit of a batch", err, dedup.ErrResultTooLarge, 1, 3)
	b.wantLost("Commit of a batch", err, 2)

	again, err := b.Peer.ClaimBatch(ctx, nil, append(keys, []byte("")))
	b.wantIndexes("ClaimBatch", err, dedup.ErrResultTooLarge, 1, 3)
	b.wantIndexes("ClaimBatch", err, dedup.ErrKeyInvalid, 5)
	d := dedup.Duplicate
	b.wantVerdicts(again, d, d, dedup.Fresh, d, d, dedup.Unknown)
	for i, want := range []string{"zero", "", "", "", "four", ""} {
		if string(again[i].Result) != want {
			b.Fatalf("the result of key %d is %q, want %q", i, again[i].Result, want)
		}
	}
}

// resultBelongsToTheCaller: neither side changes what the other has.
func resultBelongsToTheCaller(b *bed) {
	result := []byte("answer")
	b.markWith("k", result)
	copy(result, "XXXXXX")
	first := b.claim(b.Guard, "k", dedup.Duplicate).Result
	if string(first) != "answer" {
		b.Fatalf("the result became %q when the caller used the buffer again", first)
	}
	second := b.claim(b.Guard, "k", dedup.Duplicate).Result
	copy(first, "YYYYYY")
	b.markWith("another", []byte("different"))
	b.wantResult(b.Guard, "k", []byte("answer"))
	if string(second) != "answer" {
		b.Fatalf("a result that was handed out became %q", second)
	}
}

// resultNotBeforeTheMark: a result is an answer only with its mark.
func resultNotBeforeTheMark(b *bed) {
	c := b.claim(b.Guard, "k", dedup.Fresh)
	c.Result = []byte("first try")
	b.release(b.Guard, c)
	again := b.claim(b.Guard, "k", dedup.Fresh)
	again.Result = []byte("second try")
	again = b.extend(b.Guard, again, longLease)
	if string(again.Result) != "second try" {
		b.Fatalf("Extend made the result of a claim %q", again.Result)
	}
	b.claim(b.Peer, "k", dedup.InFlight)
	b.wantLost("Commit of a released claim", b.Guard.Commit(ctx, c), 0)
	again.Result = nil
	b.commit(b.Guard, again)
	if c := b.claim(b.Peer, "k", dedup.Duplicate); c.Result != nil {
		b.Fatalf("a mark without a result answers with %q, which was never committed", c.Result)
	}
}

// winnersResultStays: a late loser overwrites nothing, before and after the
// winner's mark.
func winnersResultStays(b *bed) {
	for name, before := range map[string]bool{"before": true, "after": false} {
		stale, owner := b.takeOver(name)
		stale.Result, owner.Result = []byte("the loser's"), []byte("the winner's")
		if before {
			b.wantLost("the loser's Commit", b.Guard.Commit(ctx, stale), 0)
			b.claim(b.Guard, name, dedup.InFlight)
		}
		b.commit(b.Peer, owner)
		b.wantLost("the loser's Commit", b.Guard.Commit(ctx, stale), 0)
		stale.Result = make([]byte, b.MaxResult+1)
		b.wantLost("the loser's Commit", b.Guard.Commit(ctx, stale), 0)
		b.wantResult(b.Guard, name, []byte("the winner's"))
		b.wantResult(b.Peer, name, []byte("the winner's"))
	}
	stale, owner := b.takeOver("without")
	stale.Result = []byte("the loser's")
	b.commit(b.Peer, owner)
	b.wantLost("the loser's Commit", b.Guard.Commit(ctx, stale), 0)
	if c := b.claim(b.Guard, "without", dedup.Duplicate); c.Result != nil {
		b.Fatalf("the loser's result %q is the answer of a mark without one", c.Result)
	}
}

func resultEndsWithForget(b *bed) {
	b.markWith("k", []byte("old"))
	b.forget("k")
	c := b.claim(b.Peer, "k", dedup.Fresh)
	b.commit(b.Peer, c)
	if c := b.claim(b.Guard, "k", dedup.Duplicate); c.Result != nil {
		b.Fatalf("after Forget and a mark without a result the old one, %q, came back", c.Result)
	}
	b.forget("k")
	b.markWith("k", []byte("new"))
	b.wantResult(b.Peer, "k", []byte("new"))

	large := b.claim(b.Guard, "large", dedup.Fresh)
	large.Result = make([]byte, b.MaxResult+1)
	b.wantIndexes("Commit", b.Guard.Commit(ctx, large), dedup.ErrResultTooLarge, 0)
	b.forget("large")
	b.markWith("large", []byte("fits"))
	b.wantResult(b.Guard, "large", []byte("fits"))
}

func resultEndsWithTheWindow(b *bed) {
	b.markWith("k", []byte("old"))
	b.markWith("again", []byte("old"))
	b.pass(b.Window - time.Millisecond)
	b.wantResult(b.Guard, "k", []byte("old"))
	b.pass(b.Forgotten - b.Window + 2*time.Millisecond)
	b.mark("k")
	if c := b.claim(b.Guard, "k", dedup.Duplicate); c.Result != nil {
		b.Fatalf("the result of the last window, %q, came back", c.Result)
	}
	b.markWith("again", []byte("new"))
	b.wantResult(b.Guard, "again", []byte("new"))
	b.pass(b.Window - time.Millisecond)
	b.wantResult(b.Guard, "again", []byte("new"))
}

func resultReopen(b *bed) {
	b.markWith("k", []byte("answer"))
	b.mark("none")
	large := b.claim(b.Guard, "large", dedup.Fresh)
	large.Result = make([]byte, b.MaxResult+1)
	if err := b.Guard.Commit(ctx, large); !errors.Is(err, dedup.ErrResultTooLarge) {
		b.Fatalf("Commit: %v", err)
	}
	for range 2 {
		b.reopen()
		b.wantResult(b.Guard, "k", []byte("answer"))
		b.wantTooLarge(b.Guard, "large")
		if c := b.claim(b.Guard, "none", dedup.Duplicate); c.Result != nil {
			b.Fatalf("a mark without a result answers with %q", c.Result)
		}
	}
}

// resultRaces: whoever is told Duplicate is given the winner's answer at once.
func resultRaces(b *bed) {
	keys := keysOf("race", 12)
	var mu sync.Mutex
	answers := make(map[string][]string)
	b.race(racers/2, func(i int, g dedup.Guard) {
		for _, key := range keys {
			c, err := g.Claim(ctx, key)
			if err != nil {
				b.Errorf("Claim: %v", err)
				return
			}
			if c.Verdict == dedup.Fresh {
				c.Result = fmt.Append(nil, "answer of ", i)
				if err := g.Commit(ctx, c); err != nil {
					b.Errorf("Commit: %v", err)
				}
			} else if c.Verdict != dedup.Duplicate {
				continue
			}
			mu.Lock()
			answers[string(key)] = append(answers[string(key)], string(c.Result))
			mu.Unlock()
		}
	})
	for _, key := range keys {
		got := slices.Compact(slices.Sorted(slices.Values(answers[string(key)])))
		if len(got) != 1 || got[0] == "" {
			b.Fatalf("key %s has the answers %q, want one", key, got)
		}
	}
}
