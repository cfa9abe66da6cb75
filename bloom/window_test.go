package bloom_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/firstseen/firstseen/bloom"
)

// TestWindow: a key is "maybe" until as many rotations have passed as there are generations;
// then it is gone but for the rate of false positives.
func TestWindow(t *testing.T) {
	const generations, each = 4, 5000
	for _, kind := range []bloom.Kind{bloom.Sliced, bloom.Compact} {
		w, err := bloom.NewWindow(kind, bloom.Config{Keys: generations * each, BitsPerKey: 24, Generations: generations})
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(6, 6))
		var added [][]uint64
		for range 3 * generations {
			var keys []uint64
			for range each {
				keys = append(keys, rng.Uint64())
				w.Add(keys[len(keys)-1])
			}
			added = append(added, keys)
			for back, keys := range added {
				maybe := 0
				for _, key := range keys {
					if w.Maybe(key) {
						maybe++
					}
				}
				within := len(added)-back <= generations
				if within && maybe != each || !within && maybe > each/50 {
					t.Fatalf("%v: %d of %d keys added %d rotations ago are maybe", kind, maybe, each, len(added)-1-back)
				}
			}
			w.Rotate()
		}
		w.Close()
	}
}

func ExampleWindow() {
	bitsPerKey, _, _ := bloom.Size(bloom.Sliced, 1_000_000, 0.001, 4)
	w, err := bloom.NewWindow(bloom.Sliced, bloom.Config{Keys: 1_000_000, BitsPerKey: bitsPerKey, Generations: 4})
	if err != nil {
		panic(err)
	}
	defer w.Close()
	w.Add(0x9e3779b97f4a7c15) // the hash of a key
	fmt.Println(w.Maybe(0x9e3779b97f4a7c15), w.Maybe(0x3c6ef372fe94f82a))
	for range 4 { // once for each generation: the key has left the window
		w.Rotate()
	}
	fmt.Println(w.Maybe(0x9e3779b97f4a7c15))
	// Output:
	// true false
	// false
}
