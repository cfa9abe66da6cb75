package prefetch

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// What a prefetch does can only be seen in time; a test can see that it reads
// the right arguments, changes nothing and survives the extremes.
func TestScaledTouchesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	table := make([]uint64, 8*1000)
	for i := range table {
		table[i] = rng.Uint64()
	}
	before := append([]uint64(nil), table...)
	orders := []uint64{0, 1, math.MaxUint64, 1 << 63}
	for range 997 {
		orders = append(orders, rng.Uint64())
	}
	kept := append([]uint64(nil), orders...)
	for shift := uint8(3); shift <= 6; shift++ {
		n := uint64(len(table)*8) >> shift
		for length := range len(orders) + 1 {
			Scaled(unsafe.Pointer(&table[0]), n, shift, orders[:length])
		}
	}
	places := []uint32{0, 1, 2, math.MaxUint32}
	for length := range len(places) + 1 {
		Places(unsafe.Pointer(&table[0]), 4, places[:length])
	}
	Places(nil, 4, places)
	for n := range 300 {
		Bytes(uintptr(unsafe.Pointer(&table[n%8])), n)
	}
	Bytes(0, 1000)
	Bytes(math.MaxUint64-100, 50)
	Bytes(math.MaxUint64-100, 1000) // wraps around
	Scaled(nil, 0, 0, nil)
	Scaled(nil, math.MaxUint64, 6, orders) // addresses nobody owns: a hint must not fault
	for i := range table {
		if table[i] != before[i] {
			t.Fatalf("word %d changed", i)
		}
	}
	for i := range orders {
		if orders[i] != kept[i] {
			t.Fatalf("order %d changed", i)
		}
	}
}

func TestScaledDoesNotAllocate(t *testing.T) {
	var line [8]uint64
	orders := make([]uint64, 256)
	if n := testing.AllocsPerRun(10, func() { Scaled(unsafe.Pointer(&line), 1, 6, orders) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkScaled(b *testing.B) {
	table := make([]uint64, 8)
	orders := make([]uint64, 256)
	for b.Loop() {
		Scaled(unsafe.Pointer(&table[0]), 1, 6, orders)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(orders)), "ns/key")
}
