package hash

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// TestSipHash holds SipHash-2-4 against the vectors of its authors' reference
// implementation (vectors.h): key 00..0f, input 00, 01, … of each length.
func TestSipHash(t *testing.T) {
	k := sipKey{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	for n, want := range map[int]uint64{
		0: 0x726fdb47dd0e0e31, 1: 0x74f839c593dc67fd, 2: 0x0d6c8009d9a94f5a, 3: 0x85676696d7fb7e2d,
		4: 0xcf2794e0277187b7, 5: 0x18765564cd99a68d, 6: 0xcbc9466e58fee3ce, 7: 0xab0200f58b01d137,
		8: 0x93f5f5799a932462, 15: 0xa129ca6149be45e5,
	} {
		in := make([]byte, n)
		for i := range in {
			in[i] = byte(i)
		}
		if got := k.sum(in); got != want {
			t.Errorf("%d bytes: %016x, want %016x", n, got, want)
		}
	}
}

// TestSipWord: the short form for eight bytes is the long one.
func TestSipWord(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		k, m := sipKey{rng.Uint64(), rng.Uint64()}, rng.Uint64()
		if got, want := k.word(m), k.sum(binary.LittleEndian.AppendUint64(nil, m)); got != want {
			t.Fatalf("word %016x of key %x: %016x, want %016x", m, k, got, want)
		}
	}
}
