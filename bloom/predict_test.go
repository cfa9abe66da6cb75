package bloom

import (
	"fmt"
	"math"
	"testing"
)

// TestPredictRateOfMeasurements: any-generation rates that were measured with
// 8 generations on another implementation of the same layout.
func TestPredictRateOfMeasurements(t *testing.T) {
	f := func(bitsPerKey float64, hashes int, want float64) {
		t.Helper()
		if got := PredictRate(Sliced, bitsPerKey, hashes, 8); math.Abs(got-want) > 0.05*want {
			t.Errorf("%v bits, %d hashes: %.4f, measured %.4f", bitsPerKey, hashes, got, want)
		}
	}
	f(12, 5, 0.079)
	f(16, 4, 0.042)
	f(16, 5, 0.034)
	f(20, 5, 0.018)
	f(24, 5, 0.010)
	f(32, 6, 0.0034)
}

func TestPredictRateAtTheExtremes(t *testing.T) {
	for _, kind := range []Kind{Sliced, Compact} {
		for _, bitsPerKey := range []float64{1e-3, 0.1, 1, 8, 64, 512, 1e6} {
			for k := 1; k <= kind.maxHashes(); k++ {
				if r := PredictRate(kind, bitsPerKey, k, 8); !(r >= 0 && r <= 1) || bitsPerKey < 0.01 && r < 0.999 {
					t.Errorf("%v, %v bits, %d hashes: rate %v", kind, bitsPerKey, k, r)
				}
			}
		}
	}
}

func TestSizeIsTheSmallestThatReachesTheRate(t *testing.T) {
	for _, kind := range []Kind{Sliced, Compact} {
		for _, generations := range []int{2, 5, 8} {
			for _, rate := range []float64{0.1, 0.01, 0.001, 0.0001} {
				b, k, bytes := Size(kind, 1_000_000, rate, generations)
				if got := PredictRate(kind, b, k, generations); got > rate {
					t.Errorf("%v/%d: %v bits, %d hashes for %v give %v", kind, generations, b, k, rate, got)
				}
				less := b - 1.0/8
				if got := PredictRate(kind, less, bestHashes(kind, less, generations), generations); got <= rate {
					t.Errorf("%v/%d: %v bits reach %v as well", kind, generations, less, rate)
				}
				f := open(t, kind, Config{Keys: 1_000_000, BitsPerKey: b, Generations: generations, Hashes: k})
				if diff := f.Bytes() - bytes; diff < 0 || diff > bytes/100 {
					t.Errorf("%v/%d: Size says %d bytes, the filter %d", kind, generations, bytes, f.Bytes())
				}
			}
		}
	}
	if b, _, _ := Size(Sliced, 1, 0, 8); b != 512 {
		t.Errorf("an impossible rate gives %v bits per key, want the limit", b)
	}
}

func ExampleSize() {
	for _, kind := range []Kind{Sliced, Compact} {
		bitsPerKey, hashes, bytes := Size(kind, 100_000_000, 0.01, 8)
		fmt.Printf("%v: %v bits per key, %d hashes, %d MB\n", kind, bitsPerKey, hashes, bytes/1_000_000)
	}
	// Output:
	// sliced: 22.875 bits per key, 6 hashes, 285 MB
	// compact: 14.125 bits per key, 8 hashes, 176 MB
}
