// Package hashtest makes keys that hash functions can't tell apart, for tests.
package hashtest

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Collide returns a key of the same length, 17 to 31 bytes, with the same XXH64
// under every seed. Words of eight bytes are folded in by
//
//	h = rotl(h ^ r(word), 27) * p1 + p4,  r(word) = rotl(word*p2, 31) * p1
//
// so a difference in bit 36 of r of the first word becomes one in bit 63 of h,
// whatever h was, and r of the second word can take it back.
func Collide(key []byte) []byte {
	const p1, p2 = 0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f
	r := func(w uint64) uint64 { return bits.RotateLeft64(w*p2, 31) * p1 }
	unr := func(x uint64) uint64 { return bits.RotateLeft64(x*inverse(p1), -31) * inverse(p2) }
	out := slices.Clone(key)
	le := binary.LittleEndian
	le.PutUint64(out, unr(r(le.Uint64(key))^1<<36))
	le.PutUint64(out[8:], unr(r(le.Uint64(key[8:]))^1<<63))
	return out
}

// inverse returns the factor that undoes a multiplication by the odd number n
// modulo 2^64, by Newton's iteration.
func inverse(n uint64) uint64 {
	x := n
	for range 5 {
		x *= 2 - n*x
	}
	return x
}
