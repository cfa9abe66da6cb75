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
		r := bed.log.records[len(bed.log.records)-1]
		f.Add(uint8(r.Kind), uint8(r.Form), r.Shard, r.Count, r.Payload)
	}
	f.Fuzz(func(t *testing.T, kind, form uint8, shard, count int, payload []byte) {
		if shard < 0 || shard >= len(bed.set.shards) {
			return
		}
		r := LogEntry{Kind: Kind(kind), Form: hash.Form(form), Shard: shard, Generation: 1, Count: count, Payload: payload}
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
		bed.log.records = bed.log.records[:0]
		if err := bed.set.shards[shard].log(&again, r.Kind); err != nil {
			t.Fatal(err)
		}
		if got := bed.log.records[0].Payload; string(got) != string(payload) {
			t.Fatalf("decoded and logged again: %x, was %x", got, payload)
		}
	})
}
