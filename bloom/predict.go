package bloom

import "math"

// PredictRate returns the expected share of absent keys that are "maybe" in any
// generation of a full window: of a filter that holds the number of keys it is
// sized for, evenly spread over its generations. bitsPerKey and hashes as in
// Config, but hashes must be positive.
//
// Compact: a generation with b bits per key and k hashes answers "maybe" at the
// rate (1 - e^(-k/b))^k (Bloom, Space/Time Trade-offs in Hash Coding with
// Allowable Errors, 1970; in this form Mitzenmacher, Upfal, Probability and
// Computing, 5.5.3).
//
// Sliced: the number of keys in a word is Poisson distributed with mean 64/b
// (Putze, Sanders, Singler, 2007, section 3), the number X of set bits after n
// random ones follows by recursion, and k random bits hit set ones with chance
// E[(X/64)^k]. The common estimate with the mean of X is 10 to 20 % too low for
// blocks as small as a word.
//
// Any of g generations: 1 - (1 - rate of one)^g.
func PredictRate(kind Kind, bitsPerKey float64, hashes, generations int) float64 {
	one := 0.0
	if kind == Compact {
		one = math.Pow(-math.Expm1(-float64(hashes)/bitsPerKey), float64(hashes))
	} else {
		one = wordRate(64/bitsPerKey, hashes)
	}
	return -math.Expm1(float64(generations) * math.Log1p(-one))
}

// wordRate returns the rate of a 64-bit word that holds a Poisson distributed
// number of keys with the given mean, k bits each.
func wordRate(mean float64, k int) float64 {
	var dist [65]float64 // dist[x]: chance that x bits are set
	dist[0] = 1
	var perfect [65]float64
	for x := range perfect {
		perfect[x] = math.Pow(float64(x)/64, float64(k))
	}
	rate, left := 0.0, 1.0
	chance := math.Exp(-mean) // of exactly n keys
	for n := 0; ; n++ {
		for x, p := range dist {
			rate += chance * p * perfect[x]
		}
		left -= chance
		// What is left adds less than left itself. At a mean beyond 600 the
		// first chances vanish and the word is full anyway.
		if left < 1e-12 || n > 64*20 {
			return rate + math.Max(left, 0)
		}
		chance *= mean / float64(n+1)
		for range k {
			for x := 64; x > 0; x-- {
				dist[x] = dist[x]*float64(x)/64 + dist[x-1]*float64(65-x)/64
			}
			dist[0] = 0
		}
	}
}

// bestHashes returns the smallest number of hashes whose predicted rate is no
// more than a tenth above the lowest: near the optimum the rate hardly changes,
// while every hash costs time, and with Compact a cache miss.
func bestHashes(kind Kind, bitsPerKey float64, generations int) int {
	lowest, rates := 1.0, make([]float64, kind.maxHashes()+1)
	for k := 1; k < len(rates); k++ {
		rates[k] = PredictRate(kind, bitsPerKey, k, generations)
		lowest = min(lowest, rates[k])
	}
	for k := 1; k < len(rates); k++ {
		if rates[k] <= lowest*1.1 {
			return k
		}
	}
	return 1
}

// Size returns what a filter takes that holds keys in all its generations
// together and whose predicted rate of absent keys that are "maybe" in any of
// them is at most rate: the bits per key, the hashes and the size in bytes, of
// memory and of all columns of a snapshot.
//
// The bits per key are a multiple of 1/8, from 1 to 512. Where even 512 do not
// reach the rate, Size returns 512; PredictRate tells. It panics for
// generations outside 2 to 8 and for an unknown kind.
func Size(kind Kind, keys uint64, rate float64, generations int) (bitsPerKey float64, hashes int, bytes int64) {
	if generations < 2 || generations > MaxGenerations || !kind.valid() {
		panic("bloom: Size of an unknown kind or number of generations")
	}
	low, high := minBitsPerKey*8, maxBitsPerKey*8
	for low < high {
		mid := (low + high) / 2
		b := float64(mid) / 8
		if PredictRate(kind, b, bestHashes(kind, b, generations), generations) <= rate {
			high = mid
		} else {
			low = mid + 1
		}
	}
	bitsPerKey = float64(low) / 8
	c := Config{Keys: keys, BitsPerKey: bitsPerKey, Generations: generations}
	if kind == Compact {
		bytes = int64(compactWords(c)) * 8 * int64(generations)
	} else {
		bytes = int64(slicedLines(c) << lineShift(generations) * 8)
	}
	return bitsPerKey, bestHashes(kind, bitsPerKey, generations), bytes
}
