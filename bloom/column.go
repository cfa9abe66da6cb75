package bloom

import "fmt"

// checkSlot is small enough to be inlined.
func checkSlot(slot, generations int) {
	if uint(slot) >= uint(generations) {
		badSlot(slot, generations)
	}
}

//go:noinline
func badSlot(slot, generations int) {
	panic(fmt.Sprintf("bloom: slot %d of %d", slot, generations))
}

func checkColumn(off, n, slotBytes int) {
	if off < 0 || off%8 != 0 || n%8 != 0 || off > slotBytes-n {
		panic(fmt.Sprintf("bloom: bytes %d to %d of a column of %d, in words of 8", off, off+n, slotBytes))
	}
}

// sampleWords is how many words of a slot Fill and Rate look at: 1,024 misses
// take about 20 µs.
const sampleWords = 1024

// sampleStep returns the distance of samples that spreads about sampleWords of
// them over n places. It is odd, since keys may be ordered with a period that
// is a power of two.
func sampleStep(n uint64) uint64 { return max(n/sampleWords, 1) | 1 }
