//go:build amd64 && !purego && !race

package bloom

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestKernelsEqualPlainCode: the AVX2 kernels and their twins give the same
// masks and the same memory, for every number of hashes and every line.
func TestKernelsEqualPlainCode(t *testing.T) {
	if !useAVX2 {
		t.Skip("this processor has no AVX2 and BMI2")
	}
	rng := rand.New(rand.NewPCG(8, 8))
	for generations := 2; generations <= 8; generations++ {
		for k := 1; k <= Sliced.maxHashes(); k++ {
			c := Config{Keys: 20_000, BitsPerKey: 10, Generations: generations, Hashes: k}
			f, g := open(t, Sliced, c).(*sliced), open(t, Sliced, c).(*sliced)
			orders := []uint64{0, 1, math.MaxUint64, ^uint64(15), 1 << 63, 1 << 4}
			for range 3000 {
				orders = append(orders, rng.Uint64()<<(4*rng.IntN(2)))
			}
			for slot := range generations {
				part := orders[rng.IntN(len(orders)):]
				if ran := f.addKernel(slot, part); ran != (k <= lanesMax) {
					t.Fatalf("addKernel with %d hashes: ran %v", k, ran)
				} else if !ran {
					continue
				}
				g.addWords(slot, part)
			}
			for i := range f.words {
				if f.words[i] != g.words[i] {
					t.Fatalf("%d generations, %d hashes: word %d is %#x, plain code has %#x", generations, k, i, f.words[i], g.words[i])
				}
			}
			if generations <= 4 {
				continue // no kernels for short lines
			}
			absent(t, f, g, rng, k <= lanesMax)
			got, want := make([]uint8, len(orders)+1), make([]uint8, len(orders))
			got[len(orders)] = 0xa5
			g.testLines(want, orders)
			if ran := f.maybeKernel(got[:len(orders)], orders, nil); ran != (k <= lanesMax) {
				t.Fatalf("maybeKernel with %d hashes: ran %v", k, ran)
			} else if !ran {
				continue
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("%d generations, %d hashes, order %#x: mask %08b, plain code %08b", generations, k, orders[i], got[i], want[i])
				}
			}
			if got[len(orders)] != 0xa5 {
				t.Fatal("maybeKernel wrote beyond the masks")
			}
		}
	}
}

// absent compares AddAbsent's kernel with its twin.
func absent(t *testing.T, f, g *sliced, rng *rand.Rand, runs bool) {
	t.Helper()
	got, want := make([]uint8, 201), make([]uint8, 200)
	for range 20 {
		orders := make([]uint64, 200)
		for i := range orders {
			if orders[i] = rng.Uint64() << (4 * rng.IntN(2)); i > 0 && rng.IntN(3) == 0 {
				orders[i] = orders[rng.IntN(i)]
			}
		}
		slot := rng.IntN(f.generations)
		held, blind := uint8(1<<slot)|uint8(rng.Uint32()), uint8(rng.Uint32()&rng.Uint32()&rng.Uint32()&rng.Uint32())
		got[200] = 0xa5
		if ran := f.addAbsentKernel(slot, held, blind, got[:200], orders, nil); ran != runs {
			t.Fatalf("addAbsentKernel with %d hashes: ran %v", f.hashes, ran)
		} else if !ran {
			return
		}
		g.addAbsentWords(slot, held, blind, want, orders, nil)
		for i := range want {
			if (got[i] == 0) != (want[i] == 0) || got[i]|1<<slot != want[i]|1<<slot { // see AddAbsent
				t.Fatalf("%d hashes, key %d: mask %08b, plain code %08b", f.hashes, i, got[i], want[i])
			}
		}
		if got[200] != 0xa5 {
			t.Fatal("addAbsentKernel wrote beyond the masks")
		}
	}
	for i := range f.words {
		if f.words[i] != g.words[i] {
			t.Fatalf("%d hashes: after AddAbsent word %d is %#x, plain code has %#x", f.hashes, i, f.words[i], g.words[i])
		}
	}
}
