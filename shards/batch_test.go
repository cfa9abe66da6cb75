package shards

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/firstseen/firstseen/internal/hash"
)

// mixedKey gives keys of every form, few enough to meet again.
func mixedKey(rng *rand.Rand, n uint64) []byte {
	i := rng.Uint64N(n)
	switch i % 6 {
	case 0, 1:
		return fmt.Appendf(nil, "%016d", i)
	case 2:
		return fmt.Appendf(nil, "%08x-0000-4000-8000-%012x", i, i)
	case 3:
		return fmt.Appendf(nil, "01ARZ3NDEKTSV4RRFFQ69G%04d", i%10000)
	case 4:
		return fmt.Appendf(nil, "%d", i)
	}
	return bytes.Repeat(fmt.Appendf(nil, "%08d", i), 33)
}

// TestRoute: every key stands at its shard's place once, with its hash, form,
// rest and record, and keys of one shard keep the order of the call.
func TestRoute(t *testing.T) {
	hasher := testHasher(false)
	var b Batch // reused, as in use
	rng := rand.New(rand.NewPCG(1, 3))
	for shardBits := uint(0); shardBits <= 8; shardBits++ {
		for _, n := range []int{0, 1, 1, 2, 65, 1000, 1000, MaxPiece} {
			keys := make([][]byte, n)
			for i := range keys {
				keys[i] = mixedKey(rng, 500)
			}
			if n == 65 {
				for i := range keys {
					keys[i] = fmt.Appendf(nil, "%016d", i) // fixed forms only
				}
			}
			b.route(hasher, keys, shardBits)
			checkRoute(t, hasher, &b, keys, shardBits)
		}
	}
}

func checkRoute(t *testing.T, hasher *hash.Hasher, b *Batch, keys [][]byte, shardBits uint) {
	t.Helper()
	if b.Len() != len(keys) {
		t.Fatalf("%d keys, want %d", b.Len(), len(keys))
	}
	seen := make([]bool, len(keys))
	if len(keys) == 1 { // has no starts, only its shard
		clear(b.start[:])
		for shard := b.single + 1; shard < len(b.start); shard++ {
			b.start[shard] = 1
		}
	}
	if b.start[0] != 0 || int(b.start[1<<shardBits]) != len(keys) {
		t.Fatalf("shards cover %d to %d of %d keys", b.start[0], b.start[1<<shardBits], len(keys))
	}
	for shard := range 1 << shardBits {
		last := int32(-1)
		for i := b.start[shard]; i < b.start[shard+1]; i++ {
			at := b.at[i]
			if seen[at] || at <= last {
				t.Fatalf("shard %d: key %d comes after %d", shard, at, last)
			}
			seen[at], last = true, at
			var digest [hash.DigestLen]byte
			want := hasher.Sum(keys[at], &digest)
			var record []byte
			switch want.Form {
			case hash.Bytes:
				record = keys[at]
			case hash.Digest:
				record = digest[:]
			}
			form, order, lo, got := b.Key(i)
			if form != want.Form || order != want.Hi<<shardBits || wholeHash(order, shard, shardBits) != want.Hi || lo != want.Lo || !bytes.Equal(got, record) {
				t.Fatalf("shard %d, key %q: form %d, order %x, hash %x, rest %x, record %q; want %+v, %q",
					shard, keys[at], form, order, wholeHash(order, shard, shardBits), lo, got, want, record)
			}
			if shardBits > 0 && want.Hi>>(64-shardBits) != uint64(shard) {
				t.Fatalf("key %q of hash %x is routed to shard %d of %d", keys[at], want.Hi, shard, 1<<shardBits)
			}
			if record == nil && got != nil {
				t.Fatalf("a fixed key has a record")
			}
		}
	}
	for at, ok := range seen {
		if !ok {
			t.Fatalf("key %d is routed nowhere", at)
		}
	}
}

// BenchmarkRoute: ns a key of hashing and sorting by shards.
func BenchmarkRoute(b *testing.B) {
	hasher := testHasher(false)
	rng := rand.New(rand.NewPCG(1, 4))
	for _, form := range []string{"raw16", "mixed"} {
		keys := make([][]byte, 1000)
		for i := range keys {
			if keys[i] = mixedKey(rng, 1e6); form == "raw16" {
				keys[i] = fmt.Appendf(nil, "%016d", rng.Uint64N(1e15))
			}
		}
		b.Run("form="+form+"/batch=1000/shards=16", func(b *testing.B) {
			var batch Batch
			for b.Loop() {
				batch.route(hasher, keys, 4)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/key")
		})
	}
}
