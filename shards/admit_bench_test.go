package shards

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

type nowhere struct{ pos uint64 }

func (n *nowhere) Append(r *LogEntry) (start, end uint64, err error) {
	n.pos += uint64(len(r.Payload))
	return n.pos - uint64(len(r.Payload)), n.pos, nil
}

func (*nowhere) Offer(*Batch, []Pending) {}

func (*nowhere) Confirm(*Batch, []Pending) error { return nil }

// BenchmarkAdmitMemory is the part of a call that is neither journal nor disk.
func BenchmarkAdmitMemory(b *testing.B) {
	for _, keys := range []int{1, 1000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) { benchAdmitMemory(b, keys) })
	}
}

func benchAdmitMemory(b *testing.B, batch int) {
	const capacity = 20_000_000
	no := &nowhere{}
	var seed [32]byte
	s, err := NewSet(Config{
		Shards: 16, Hasher: hash.New(seed, false), Kind: bloom.Sliced,
		Filter:     bloom.Config{Keys: capacity * 8 / 7 / 16, BitsPerKey: 24, Generations: 8},
		Generation: 1, Generations: 8, Log: no, Confirmer: no, MaxKeys: capacity / 7 / 16 * 11 / 10, MaxSealed: 1 << 20,
		Sealed: func() {},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := range s.shards {
		if err := s.Warm(i, TableSets, 0); err != nil {
			b.Fatal(err)
		}
	}
	keys := make([][]byte, batch)
	for i := range keys {
		keys[i] = make([]byte, 16)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var bt Batch
	out := make([]dedup.Verdict, batch)
	ctx := context.Background()
	call := func(i int) {
		for _, k := range keys { // 3 ns a key; stopping the timer would cost more
			binary.LittleEndian.PutUint64(k, rng.Uint64())
			binary.LittleEndian.PutUint64(k[8:], uint64(i))
		}
		s.Route(&bt, keys)
		bt.Out = out
		if err := s.Admit(ctx, &bt, 0); err != nil {
			b.Fatal(err)
		}
	}
	generation := uint64(1)
	rotate := func() {
		generation++
		s.Retire(max(generation, 7) - 6)
		s.Rotate(generation)
		for u := s.Next(); u != nil; u = s.Next() {
			s.Published(u, func() {})
		}
		for s.Clear() {
		}
	}
	span := capacity / 7 / batch * batch
	for i := range capacity / batch { // until every table and line has its memory
		if call(i); i*batch%span == 0 {
			rotate()
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += batch {
		if call(i); i%span == 0 {
			b.StopTimer()
			rotate()
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/key")
}
