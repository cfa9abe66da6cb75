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
	out := slices.Clone(key)
	le := binary.LittleEndian
	le.PutUint64(out, unround(round(le.Uint64(key))^1<<36))
	le.PutUint64(out[8:], unround(round(le.Uint64(key[8:]))^1<<63))
	return out
}

// The first two primes of XXH64.
const p1, p2 = 0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f

var inverse1, inverse2 = inverse(p1), inverse(p2)

func round(word uint64) uint64 { return bits.RotateLeft64(word*p2, 31) * p1 }

func unround(r uint64) uint64 { return bits.RotateLeft64(r*inverse1, -31) * inverse2 }

// FourLen is the length of the keys of Four.
const FourLen = 24

// Four returns the i-th of keys of which four each, 4n to 4n+3, have the same XXH64
// under every seed: Collide's difference between the first two words, between the
// last two, or both. No two are equal.
func Four(i uint64) []byte { return AppendFour(nil, i/4, 0x9e3779b97f4a7c15*(i/4), i) }

// AppendFour appends the key of the four of (hi, lo) that the lowest two bits of i
// choose.
func AppendFour(dst []byte, hi, lo, i uint64) []byte {
	// The bits that tell the four apart are cleared in the words they go to, and
	// what stood there moves into the highest bits of the last word.
	const first, second = 1 << 36, 1 << 63
	a, b := i&1, i>>1&1
	moved := hi&first<<26 | lo&first<<25
	for _, r := range [...]uint64{hi&^first ^ a*first, lo&^first ^ a*second ^ b*first, moved ^ b*second} {
		dst = binary.LittleEndian.AppendUint64(dst, unround(r))
	}
	return dst
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
