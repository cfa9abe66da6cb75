package guardtest

import (
	"fmt"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// batchCases: many keys in one call.
var batchCases = []testCase{
	{"Batches/Verdicts", 0, batchVerdicts},
	{"Batches/Twins", 0, batchTwins},
	{"Batches/BadKeys", 0, batchBadKeys},
	{"Batches/BadKeysAlone", 0, batchBadKeysAlone},
	{"Batches/Empty", 0, batchEmpty},
	{"Batches/Append", 0, batchAppend},
	{"Batches/Reused", 0, batchReused},
	{"Batches/Large", 0, batchLarge},
}

func keysOf(prefix string, n int) [][]byte {
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = fmt.Append(nil, prefix, i)
	}
	return keys
}

func bytesOf(keys ...string) [][]byte {
	bs := make([][]byte, len(keys))
	for i, key := range keys {
		bs[i] = []byte(key)
	}
	return bs
}

// wantVerdicts compares claims with verdicts, in order.
func (b *bed) wantVerdicts(cs []dedup.Claim, want ...dedup.Verdict) {
	b.Helper()
	if len(cs) != len(want) {
		b.Fatalf("%d claims, want %d", len(cs), len(want))
	}
	for i, c := range cs {
		if c.Verdict != want[i] {
			b.Fatalf("claim %d, of %s, is %v, want %v", i, short(string(c.Key)), c.Verdict, want[i])
		}
	}
}

func batchVerdicts(b *bed) {
	b.mark("marked")
	b.claim(b.Peer, "held", dedup.Fresh)
	keys := bytesOf("new1", "marked", "held", "new2")
	cs, err := b.Guard.ClaimBatch(ctx, nil, keys)
	if err != nil {
		b.Fatal(err)
	}
	b.wantVerdicts(cs, dedup.Fresh, dedup.Duplicate, dedup.InFlight, dedup.Fresh)
	for i, c := range cs {
		b.wellFormed(c, keys[i])
		if &c.Key[0] != &keys[i][0] {
			b.Fatalf("Key of claim %d is not the slice that the caller gave", i)
		}
	}
	b.commit(b.Guard, cs...)
	b.claim(b.Peer, "new1", dedup.Duplicate)
	b.claim(b.Peer, "new2", dedup.Duplicate)
	b.claim(b.Guard, "held", dedup.InFlight)
}

// batchTwins: a key that comes twice is Fresh once and then InFlight; one claim
// ends it.
func batchTwins(b *bed) {
	cs, err := b.Guard.ClaimBatch(ctx, nil, bytesOf("a", "b", "a", "a", "b", "c"))
	if err != nil {
		b.Fatal(err)
	}
	f, w := dedup.Fresh, dedup.InFlight
	b.wantVerdicts(cs, f, f, w, w, w, f)
	if !cs[2].Expires.After(b.Now().Add(longLease - time.Minute/2)) {
		b.Fatalf("the twin's Expires is %v, the first one's %v", cs[2].Expires, cs[0].Expires)
	}
	b.commit(b.Guard, cs...)
	cs, err = b.Guard.ClaimBatch(ctx, nil, bytesOf("a", "b", "a", "c"))
	if err != nil {
		b.Fatal(err)
	}
	b.wantVerdicts(cs, dedup.Duplicate, dedup.Duplicate, dedup.Duplicate, dedup.Duplicate)
}

func batchBadKeys(b *bed) {
	long := string(make([]byte, dedup.MaxKeyLen+1))
	before := []dedup.Claim{{Key: []byte("before")}}
	cs, err := b.Guard.ClaimBatch(ctx, before, bytesOf("good", "", "good2", long, "good", ""))
	b.wantIndexes("ClaimBatch with bad keys", err, dedup.ErrKeyInvalid, 1, 3, 5)
	f, u := dedup.Fresh, dedup.Unknown
	if len(cs) != 7 {
		b.Fatalf("%d claims, want 7", len(cs))
	}
	b.wantVerdicts(cs[1:], f, u, f, u, dedup.InFlight, u)
	b.commit(b.Guard, cs[1:]...)
	b.claim(b.Guard, "good", dedup.Duplicate)
	b.claim(b.Guard, "good2", dedup.Duplicate)
}

func batchBadKeysAlone(b *bed) {
	for _, key := range [][]byte{nil, {}, make([]byte, dedup.MaxKeyLen+1)} {
		c, err := b.Guard.Claim(ctx, key)
		b.wantIndexes(fmt.Sprintf("Claim of a key of %d bytes", len(key)), err, dedup.ErrKeyInvalid, 0)
		if c.Verdict != dedup.Unknown || c.Token != (dedup.Token{}) {
			b.Fatalf("a key of %d bytes is %v with the token %v", len(key), c.Verdict, c.Token)
		}
		cs, err := b.Guard.ClaimBatch(ctx, nil, [][]byte{key})
		b.wantIndexes(fmt.Sprintf("ClaimBatch of a key of %d bytes", len(key)), err, dedup.ErrKeyInvalid, 0)
		b.wantVerdicts(cs, dedup.Unknown)
	}
}

func batchEmpty(b *bed) {
	for _, cs := range [][]dedup.Claim{nil, {{Key: []byte("before")}}} {
		got, err := b.Guard.ClaimBatch(ctx, cs, nil)
		if err != nil || len(got) != len(cs) {
			b.Fatalf("ClaimBatch without keys made %d claims of %d, and %v", len(got), len(cs), err)
		}
	}
	b.commit(b.Guard)
	b.release(b.Guard)
}

// batchAppend: claims are appended, and what stood before is left alone.
func batchAppend(b *bed) {
	first, err := b.Guard.ClaimBatch(ctx, nil, bytesOf("a", "b"))
	if err != nil {
		b.Fatal(err)
	}
	was := first[1].Token
	cs, err := b.Guard.ClaimBatch(ctx, first, bytesOf("b", "c"))
	if err != nil {
		b.Fatal(err)
	}
	b.wantVerdicts(cs, dedup.Fresh, dedup.Fresh, dedup.InFlight, dedup.Fresh)
	if cs[1].Token != was || string(cs[0].Key) != "a" {
		b.Fatal("ClaimBatch changed the claims that it appended to")
	}
	b.commit(b.Guard, cs...)
}

// batchReused: the caller may give the same slice again; nothing of what it
// held shines through.
func batchReused(b *bed) {
	b.mark("marked")
	b.claim(b.Guard, "held", dedup.Fresh)
	old := dedup.Claim{
		Key: []byte("old"), Verdict: dedup.Fresh, Token: dedup.Token{9}, Expires: time.Unix(1, 0),
		Result: []byte("old"), Unguarded: true,
	}
	cs := []dedup.Claim{old, old, old, old}
	cs, err := b.Guard.ClaimBatch(ctx, cs[:0], bytesOf("new", "marked", "held", ""))
	b.wantIndexes("ClaimBatch", err, dedup.ErrKeyInvalid, 3)
	b.wantVerdicts(cs, dedup.Fresh, dedup.Duplicate, dedup.InFlight, dedup.Unknown)
	for i, c := range cs {
		if c.Unguarded || c.Result != nil || c.Expires.Equal(old.Expires) || c.Token == old.Token {
			b.Fatalf("claim %d has something of what the slice held before: %+v", i, c)
		}
	}
}

// batchLarge is larger than any internal part of a batch is likely to be.
func batchLarge(b *bed) {
	const n = 3000
	keys := keysOf("large", n)
	cs := b.claimAll(b.Guard, keys, dedup.Fresh)
	b.claimAll(b.Peer, keys, dedup.InFlight)
	b.release(b.Guard, cs[n-1])
	b.wantLost("Commit of a large batch", b.Guard.Commit(ctx, cs...), n-1)
	b.claimAll(b.Peer, keys[:n-1], dedup.Duplicate)
	b.claim(b.Peer, string(keys[n-1]), dedup.Fresh)
}
