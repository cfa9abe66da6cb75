package hash

import (
	"encoding/binary"
	"math/bits"
)

// sipKey is the key of SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast
// short-input PRF", 2012).
type sipKey [2]uint64

type sipState struct{ v0, v1, v2, v3 uint64 }

func (k sipKey) start() sipState {
	return sipState{
		k[0] ^ 0x736f6d6570736575, k[1] ^ 0x646f72616e646f6d,
		k[0] ^ 0x6c7967656e657261, k[1] ^ 0x7465646279746573,
	}
}

func (s *sipState) round() {
	s.v0 += s.v1
	s.v1 = bits.RotateLeft64(s.v1, 13) ^ s.v0
	s.v0 = bits.RotateLeft64(s.v0, 32)
	s.v2 += s.v3
	s.v3 = bits.RotateLeft64(s.v3, 16) ^ s.v2
	s.v0 += s.v3
	s.v3 = bits.RotateLeft64(s.v3, 21) ^ s.v0
	s.v2 += s.v1
	s.v1 = bits.RotateLeft64(s.v1, 17) ^ s.v2
	s.v2 = bits.RotateLeft64(s.v2, 32)
}

func (s *sipState) block(m uint64) {
	s.v3 ^= m
	s.round()
	s.round()
	s.v0 ^= m
}

func (s *sipState) finish() uint64 {
	s.v2 ^= 0xff
	s.round()
	s.round()
	s.round()
	s.round()
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

// sum is SipHash-2-4 of b.
func (k sipKey) sum(b []byte) uint64 {
	s := k.start()
	n := len(b)
	for ; len(b) >= 8; b = b[8:] {
		s.block(binary.LittleEndian.Uint64(b))
	}
	last := uint64(n) << 56
	for i, c := range b {
		last |= uint64(c) << (8 * i)
	}
	s.block(last)
	return s.finish()
}

// word is SipHash-2-4 of the eight bytes of m.
func (k sipKey) word(m uint64) uint64 {
	s := k.start()
	s.block(m)
	s.block(8 << 56)
	return s.finish()
}
