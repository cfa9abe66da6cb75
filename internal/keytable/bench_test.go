package keytable

import (
	"math/rand/v2"
	"runtime"
	"testing"
)

const (
	benchKeys   = 180_000
	benchTables = 16 // together out of the cache
)

// filled makes tables that are full of random keys, and returns the orders of those of each.
func filled(b *testing.B) (tables []*Table, orders [][]uint64) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range benchTables {
		t := newTable(testRegion(b, tableBytes(benchKeys+MaxInsert)), benchKeys+MaxInsert)
		var in []uint64
		for t.Len() < benchKeys {
			hi := rng.Uint64() >> tableShardBits
			t.Insert(hi<<tableShardBits, hi, hi, nil)
			in = append(in, hi<<tableShardBits)
		}
		tables, orders = append(tables, t), append(orders, in)
	}
	return tables, orders
}

// BenchmarkSorted: ns per key of putting a full table in order that is out of the cache.
func BenchmarkSorted(b *testing.B) {
	tables, _ := filled(b)
	var dst []Pair
	i := 0
	for b.Loop() {
		dst = tables[i%benchTables].Sorted(dst[:0], runtime.Gosched)
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/key")
}

// BenchmarkInsertNew: ns per key of adding 64 new keys at a time to one table after the other.
func BenchmarkInsertNew(b *testing.B) {
	const part = 64
	rng := rand.New(rand.NewPCG(5, 4))
	var tables []*Table
	for range benchTables {
		tables = append(tables, newTable(testRegion(b, tableBytes(benchKeys+MaxInsert)), benchKeys+MaxInsert))
	}
	orders, spilled := make([]uint64, part), make([]int32, 0, part)
	for i := 0; b.Loop(); i++ {
		t := tables[i%benchTables]
		if t.Used() >= benchKeys {
			b.StopTimer()
			for _, t := range tables {
				t.used, t.keys = 0, 0
				clear(t.index)
			}
			b.StartTimer()
		}
		for k, p := range t.Unused(part) {
			p.Hi = rng.Uint64() >> tableShardBits
			orders[k] = p.Hi << tableShardBits
			t.Unused(part)[k] = p
		}
		t.Prefetch(orders)
		t.PrefetchUnused(part)
		t.InsertNew(orders, spilled)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/part, "ns/key")
}

// BenchmarkHolds: ns per key of finding 64 keys at a time that are there.
func BenchmarkHolds(b *testing.B) {
	const part = 64
	tables, all := filled(b)
	at, candidates := make([]int32, part), make([]uint32, 0, part)
	for k := range at {
		at[k] = int32(k)
	}
	for i := 0; b.Loop(); i++ {
		t, from := tables[i%benchTables], i*part%(benchKeys-part)
		orders := all[i%benchTables][from : from+part]
		t.Prefetch(orders)
		for k, c := range t.Candidates(candidates, orders, at) {
			hi := orders[k] >> tableShardBits
			if !t.Holds(c, orders[k], hi, hi, nil) {
				b.Fatal("a key is lost")
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/part, "ns/key")
}
