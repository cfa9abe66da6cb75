package shards

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// TestSort7: a network that sorts all zeroes and ones sorts everything.
func TestSort7(t *testing.T) {
	for bits := range uint32(1 << 7) {
		var v [7]uint32
		for i := range v {
			v[i] = bits >> i & 1
		}
		want := slices.Sorted(slices.Values(v[:]))
		var got [7]uint32
		got[0], got[1], got[2], got[3], got[4], got[5], got[6] = sort7(v[0], v[1], v[2], v[3], v[4], v[5], v[6])
		if !slices.Equal(got[:], want) {
			t.Errorf("%v becomes %v", v, got)
		}
	}
}

// BenchmarkSorted: ns a key of putting a full table in order that is out of the cache.
func BenchmarkSorted(b *testing.B) {
	const keys, tables = 180_000, 16
	rng := rand.New(rand.NewPCG(4, 4))
	var ts []*table
	for range tables {
		t := newTable(testRegion(b, tableBytes(keys+MaxPart)), keys+MaxPart, nil)
		for t.keys < keys {
			hi := rng.Uint64() >> tableShardBits
			t.insert(hi<<tableShardBits, hi, rng.Uint64(), nil)
		}
		ts = append(ts, t)
	}
	var dst []Pair
	i := 0
	for b.Loop() {
		dst = ts[i%tables].sorted(dst[:0], runtime.Gosched)
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
}
