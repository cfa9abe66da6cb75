package mem

import "testing"

// TestClear: exactly the words that were given are zero afterwards, from wherever
// in a line they start.
func TestClear(t *testing.T) {
	const ones = ^uint64(0)
	words := make([]uint64, 100)
	for from := range 20 {
		for to := from; to <= len(words); to++ {
			for i := range words {
				words[i] = ones
			}
			Clear(words[from:to])
			for i, w := range words {
				want := ones
				if i >= from && i < to {
					want = 0
				}
				if w != want {
					t.Fatalf("words %d to %d cleared: word %d is %#x", from, to, i, w)
				}
			}
		}
	}
}

func BenchmarkClear(b *testing.B) {
	r, err := Alloc(96 << 20)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Free()
	r.Touch()
	const piece = 128 << 10 / 8
	b.SetBytes(int64(len(r.Bytes())))
	for b.Loop() {
		for words := r.Uint64s(); len(words) > 0; words = words[piece:] {
			Clear(words[:piece])
		}
	}
}
