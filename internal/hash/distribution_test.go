package hash

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/firstseen/firstseen/bloom"
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
// slots those below, filter bits the lowest. What is hashed must be spread as by
// chance in every byte: chi-square of 256 buckets has mean 255 and deviation
// 22.6. What is only mixed (two rounds) keeps some structure of the numbering:
// there the shares of the highest byte must be even within a few percent, and
// TestClusters and TestFilterRate look at the rest.
func TestDistribution(t *testing.T) {
	const keys = 100_000
	limit := 255 + 6*math.Sqrt(2*255)
	for name, key := range families {
		for _, untrusted := range []bool{false, true} {
			h := New(testSeed(11), untrusted)
			var count [8][256]int
			form := Form(0)
			for i := range keys {
				k := sum(h, key(i))
				form = k.Form
				for b := range count {
					count[b][byte(k.Hi>>(8*b))]++
				}
			}
			for b := range count {
				chi := chiSquare(count[b][:], keys)
				switch {
				case form.Fixed() && !untrusted && b < 7:
				case form.Fixed() && !untrusted:
					if share := math.Sqrt(chi / keys); share > 0.1 {
						t.Errorf("%s: the highest byte's shares deviate by %.3f, at most 0.1 allowed", name, share)
					}
				case chi > limit:
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

// TestFilterRate: a filter answers "maybe" for numbered keys that it doesn't
// hold about as rarely as for random ones, whatever bits of the hash it uses.
// Structure that mixing leaves costs a factor of two under some seeds.
func TestFilterRate(t *testing.T) {
	const keys, generations, bitsPerKey = 20_000, 8, 24
	for name, key := range families {
		for seed := range uint64(3) {
			h := New(testSeed(20+seed), false)
			f, err := bloom.New(bloom.Sliced, bloom.Config{Keys: keys, BitsPerKey: bitsPerKey, Generations: generations})
			if err != nil {
				t.Fatal(err)
			}
			const shardBits = 4
			for i := range keys {
				f.Add(i*generations/keys, sum(h, key(i)).Hi<<shardBits)
			}
			maybe := 0
			for i := keys; i < 3*keys; i++ {
				if f.Maybe(sum(h, key(i)).Hi<<shardBits) != 0 {
					maybe++
				}
			}
			want := bloom.PredictRate(bloom.Sliced, bitsPerKey, f.Hashes(), generations)
			if got := float64(maybe) / (2 * keys); got > 3*want {
				t.Errorf("%s, seed %d: %.4f of the absent keys are \"maybe\", predicted are %.4f", name, seed, got, want)
			}
			f.Close()
		}
	}
}
