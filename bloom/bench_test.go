package bloom

import (
	"fmt"
	"math/rand/v2"
	"testing"

	bitsandblooms "github.com/bits-and-blooms/bloom/v3"
)

const (
	benchShards = 16
	benchBatch  = 256
)

// benchWindow returns the filters of a window of the given number of keys, full.
// Adding them one by one would take minutes, so a small full filter's columns
// are laid side by side: the density and its variation are the same.
func benchWindow(b *testing.B, kind Kind, keys uint64) []batcher {
	b.Helper()
	c := Config{Keys: 40_000, BitsPerKey: 24, Generations: 8}
	if kind == Compact {
		c.BitsPerKey = 22
	}
	rng := rand.New(rand.NewPCG(1, keys))
	tile := benchFilter(b, kind, c)
	orders := make([]uint64, c.Keys/8)
	columns := make([][]byte, 8)
	for slot := range columns {
		fillOrders(rng, orders)
		tile.AddBatch(slot, orders)
		columns[slot] = make([]byte, tile.SlotBytes())
		tile.ReadSlot(slot, 0, columns[slot])
	}
	c.Keys = keys / benchShards
	filters := make([]batcher, benchShards)
	for i := range filters {
		f := benchFilter(b, kind, c)
		f.Touch()
		for slot, column := range columns {
			for off := 0; off < f.SlotBytes(); off += len(column) {
				f.MergeSlot(slot, off, column[:min(len(column), f.SlotBytes()-off)])
			}
		}
		filters[i] = f
	}
	return filters
}

func benchFilter(b *testing.B, kind Kind, c Config) batcher {
	b.Helper()
	f, err := New(kind, c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(f.Close)
	return f.(batcher)
}

func fillOrders(rng *rand.Rand, orders []uint64) {
	for i := range orders {
		orders[i] = rng.Uint64() << 4 // 16 shards: see the package's order
	}
}

// benchOrders returns batches enough that the benchmark does not meet cached
// lines again: 64 MiB of them.
func benchOrders() [][]uint64 {
	rng := rand.New(rand.NewPCG(3, 4))
	batches := make([][]uint64, 4096)
	for i := range batches {
		batches[i] = make([]uint64, benchBatch)
		fillOrders(rng, batches[i])
	}
	return batches
}

func reportKeys(b *testing.B, keys int) {
	ns := float64(b.Elapsed().Nanoseconds())
	b.ReportMetric(ns/float64(keys), "ns/key")
	b.ReportMetric(float64(keys)/ns*1e9, "keys/s")
	b.ReportMetric(0, "ns/op")
}

var benchSizes = []uint64{1_000_000, 20_000_000, 100_000_000}

func BenchmarkMaybeBatch(b *testing.B) {
	batches := benchOrders()
	for _, keys := range benchSizes {
		for _, kind := range []Kind{Sliced, Compact} {
			b.Run(fmt.Sprintf("kind=%v/keys=%d/batch=%d", kind, keys, benchBatch), func(b *testing.B) {
				filters := benchWindow(b, kind, keys)
				for _, prefetched := range []string{"ahead", "before", "never"} {
					b.Run("prefetched="+prefetched, func(b *testing.B) {
						masks := make([]uint8, benchBatch)
						i := 0
						for b.Loop() {
							f, orders := filters[i%benchShards], batches[i%len(batches)]
							switch prefetched {
							case "ahead":
								f.MaybeBatch(masks, orders)
							case "before":
								f.Prefetch(orders)
								fallthrough
							case "never":
								f.MaybePrefetched(masks, orders, nil)
							}
							i++
						}
						reportKeys(b, i*benchBatch)
					})
				}
			})
		}
	}
}

func BenchmarkAddBatch(b *testing.B) {
	batches := benchOrders()
	for _, keys := range benchSizes {
		for _, kind := range []Kind{Sliced, Compact} {
			b.Run(fmt.Sprintf("kind=%v/keys=%d/batch=%d", kind, keys, benchBatch), func(b *testing.B) {
				filters := benchWindow(b, kind, keys)
				i := 0
				for b.Loop() {
					f, orders := filters[i%benchShards], batches[i%len(batches)]
					f.Prefetch(orders)
					f.AddBatch(i/benchShards%8, orders)
					i++
				}
				reportKeys(b, i*benchBatch)
			})
		}
	}
}

// BenchmarkBitsAndBlooms is the baseline: one filter for the whole window, so
// without generations, of the memory that Sliced takes.
func BenchmarkBitsAndBlooms(b *testing.B) {
	for _, keys := range benchSizes {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			f := bitsandblooms.New(uint(keys)*24, 5)
			rng := rand.New(rand.NewPCG(5, 6))
			var key [8]byte
			for range keys / 10 { // setting all would take half a minute, and half of the bits tell a test no more
				f.Add(putKey(&key, rng.Uint64()))
			}
			n, found := 0, 0
			for b.Loop() {
				if f.Test(putKey(&key, rng.Uint64())) {
					found++
				}
				n++
			}
			reportKeys(b, n)
		})
	}
}

func putKey(key *[8]byte, v uint64) []byte {
	for i := range key {
		key[i] = byte(v >> (8 * i))
	}
	return key[:]
}

func BenchmarkClearStep(b *testing.B) {
	for _, kind := range []Kind{Sliced, Compact} {
		b.Run(fmt.Sprintf("kind=%v", kind), func(b *testing.B) {
			f, err := New(kind, Config{Keys: 20_000_000, BitsPerKey: 24, Generations: 8})
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			f.Touch()
			for slot := 0; b.Loop(); {
				if !f.ClearStep() {
					f.Reset(slot)
					slot = (slot + 1) % 8
				}
			}
		})
	}
}
