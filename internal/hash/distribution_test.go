package hash

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"
)

// families are keys as real senders number them: what a hash must spread.
var families = map[string]func(i int) []byte{
	"sequential":     func(i int) []byte { return binary.LittleEndian.AppendUint64(make([]byte, 8, 16), uint64(i)) },
	"sequentialHigh": func(i int) []byte { return append(binary.BigEndian.AppendUint64(nil, uint64(i)), make([]byte, 8)...) },
	"digits":         func(i int) []byte { return fmt.Appendf(nil, "%016d", i) },
	"prefix":         func(i int) []byte { return fmt.Appendf(nil, "order-%010d", i) },
	"strided":        func(i int) []byte { return binary.LittleEndian.AppendUint64(make([]byte, 8, 16), uint64(i)<<40) },
	"uuid":           func(i int) []byte { return fmt.Appendf(nil, "00000000-0000-4000-8000-%012x", i) },
	"ulid":           func(i int) []byte { return fmt.Appendf(nil, "01ARZ3NDEKTSV4RRFFQ%07d", i) },
	"bytes":          func(i int) []byte { return fmt.Appendf(nil, "customer/%d", i) },
}

// TestDistribution: shards take the highest bits of Hi, filter lines and table
// slots those below, filter bits the lowest. Each byte of Hi must be spread as
// by chance: chi-square of 256 buckets has mean 255 and deviation 22.6.
func TestDistribution(t *testing.T) {
	const keys = 100_000
	limit := 255 + 6*math.Sqrt(2*255)
	for name, key := range families {
		for _, untrusted := range []bool{false, true} {
			h := New(testSeed(11), untrusted)
			var count [8][256]int
			for i := range keys {
				hi := sum(h, key(i)).Hi
				for b := range count {
					count[b][byte(hi>>(8*b))]++
				}
			}
			for b := range count {
				if chi := chiSquare(count[b][:], keys); chi > limit {
					t.Errorf("%s, untrusted %v, byte %d of Hi: chi-square %.0f, at most %.0f expected", name, untrusted, b, chi, limit)
				}
			}
		}
	}
}

func chiSquare(count []int, n int) (chi float64) {
	want := float64(n) / float64(len(count))
	for _, c := range count {
		chi += (float64(c) - want) * (float64(c) - want) / want
	}
	return chi
}

// TestClusters: probing in the tables is linear in the order of Hi, so keys must
// not come in clumps smaller than a byte's bucket either. Of n keys thrown into
// n places at random (1-1/e) n places get one.
func TestClusters(t *testing.T) {
	const keys = 1 << 16
	for name, key := range families {
		for _, untrusted := range []bool{false, true} {
			h := New(testSeed(12), untrusted)
			var hit [keys]bool
			filled := 0
			for i := range keys {
				if at := sum(h, key(i)).Hi >> 48; !hit[at] {
					hit[at] = true
					filled++
				}
			}
			want := keys * (1 - 1/math.E)
			if low := want - 6*math.Sqrt(keys)/3; float64(filled) < low {
				t.Errorf("%s, untrusted %v: %d of %d places are filled, at least %.0f expected", name, untrusted, filled, keys, low)
			}
		}
	}
}

// TestAvalanche: each bit of a 16-byte key changes each bit of Hi about every
// second time, or a sender's fixed bits would thin out the shards.
func TestAvalanche(t *testing.T) {
	const rounds = 2000
	for _, untrusted := range []bool{false, true} {
		h := New(testSeed(13), untrusted)
		for bit := range 128 {
			var flips [64]int
			for i := range rounds {
				key := fmt.Appendf(nil, "%016d", i*7919)
				a := sum(h, key).Hi
				key[bit/8] ^= 1 << (bit % 8)
				d := a ^ sum(h, key).Hi
				for b := range flips {
					flips[b] += int(d >> b & 1)
				}
			}
			for b, n := range flips {
				// Folding a product leaves a bias of some percent in single bits;
				// a bit that never or always flips would be an error.
				if n < rounds/5 || n > rounds*4/5 {
					t.Errorf("untrusted %v: bit %d of the key flips bit %d of Hi %d times of %d", untrusted, bit, b, n, rounds)
				}
			}
		}
	}
}
