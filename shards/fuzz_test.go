package shards

import (
	"errors"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

// FuzzRecord: a record of the log is decoded as it was written, or is damage;
// nothing is allocated for keys that are not there.
func FuzzRecord(f *testing.F) {
	bed := newBed(f, Config{})
	for _, key := range []string{"0123456789abcdef", "a key", "00000000-0000-4000-8000-000000000000"} {
		var b Batch
		bed.set.Route(&b, [][]byte{[]byte(key)})
		b.now = 1
		b.fresh.add(&b, 0)
		if err := bed.set.shards[b.single].log(&b, Mark); err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(b.rec.Kind), uint8(b.rec.Form), b.rec.Shard, b.rec.Count, b.rec.Payload)
	}
	f.Fuzz(func(t *testing.T, kind, form uint8, shard, count int, payload []byte) {
		if shard < 0 || shard >= len(bed.set.shards) {
			return
		}
		r := Record{Kind: Kind(kind), Form: hash.Form(form), Shard: shard, Generation: 1, Count: count, Payload: payload}
		var b Batch
		if err := bed.set.decode(&b, &r); err != nil {
			if !errors.Is(err, dedup.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again := b
		again.fresh = marks{}
		for i := range b.n {
			again.fresh.add(&b, i)
		}
		if b.n == 0 {
			return
		}
		if err := bed.set.shards[shard].log(&again, r.Kind); err != nil {
			t.Fatal(err)
		}
		if string(again.rec.Payload) != string(payload) {
			t.Fatalf("decoded and logged again: %x, was %x", again.rec.Payload, payload)
		}
	})
}
