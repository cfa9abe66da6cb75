package hash

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// A Form says how a key is stored. The values are part of the disk format.
type Form uint8

const (
	Raw16  Form = iota // any 16 bytes: hash and rest, 16 bytes
	UUID               // canonical UUID text: hash and rest, 16 bytes
	ULID               // canonical ULID text: hash and rest, 16 bytes
	Bytes              // up to MaxBytes bytes as they are
	Digest             // longer keys: their SHA-256
	Forms  = 5         // number of forms

	// MaxBytes is the length of the longest key that is stored as it is: its
	// length takes one byte.
	MaxBytes = 255
	// DigestLen is the stored length of a longer key.
	DigestLen = sha256.Size
)

// Fixed reports whether keys of the form are stored as two words.
func (f Form) Fixed() bool { return f <= ULID }

// A Key is a key in its stored form. For the fixed forms Hi and Lo are the
// whole key; for the others Hi is a hash of the stored bytes and Lo is zero.
type Key struct {
	Hi, Lo uint64
	Form   Form
}

// A Hasher hashes with the secret seed of one directory. It is immutable.
type Hasher struct {
	mix       [3]mixSeed // one for each fixed form, so that forms differ
	xx        uint64
	sip       sipKey
	untrusted bool
}

type mixSeed [4]uint64

// New derives a Hasher from seed. With untrusted keys it routes by SipHash.
func New(seed [32]byte, untrusted bool) *Hasher {
	h := &Hasher{untrusted: untrusted}
	word := func(label byte, i int) uint64 {
		sum := sha256.Sum256(append(append([]byte("firstseen hash v1"), label, byte(i)), seed[:]...))
		return binary.LittleEndian.Uint64(sum[:])
	}
	for f := range h.mix {
		for i := range h.mix[f] {
			h.mix[f][i] = word(byte(f), i)
		}
		// Multipliers must be odd, or the product loses the low bits.
		h.mix[f][1] |= 1
		h.mix[f][3] |= 1
	}
	h.xx = word('x', 0)
	h.sip = sipKey{word('s', 0), word('s', 1)}
	return h
}

// Sum classifies and hashes a key of 1 to 65,535 bytes. For a key of form
// Digest it stores the digest in *digest; the other forms leave it alone.
func (h *Hasher) Sum(key []byte, digest *[DigestLen]byte) Key {
	switch {
	case len(key) == 16:
		return h.fixed(Raw16, binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[8:]))
	case len(key) == uuidLen:
		if a, b, ok := parseUUID(key); ok {
			return h.fixed(UUID, a, b)
		}
	case len(key) == ulidLen:
		if a, b, ok := parseULID(key); ok {
			return h.fixed(ULID, a, b)
		}
	case len(key) > MaxBytes:
		*digest = sha256.Sum256(key)
		return Key{Hi: h.Record(digest[:]), Form: Digest}
	}
	return Key{Hi: h.Record(key), Form: Bytes}
}

// SumAlike is Sum for the keys that keys begins with as long as they have the form
// of the first one, Raw16 or UUID: it puts the two words of each into his and los,
// which are as long as keys, and returns how many there are.
func (h *Hasher) SumAlike(his, los []uint64, keys [][]byte) (form Form, n int) {
	his, los = his[:len(keys)], los[:len(keys)]
	switch {
	case h.untrusted || len(keys) == 0:
		return Raw16, 0
	case len(keys[0]) == 16:
		s := h.mix[Raw16]
		for i, key := range keys {
			if len(key) != 16 {
				return Raw16, i
			}
			his[i], los[i] = s.rounds(binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[8:]))
		}
		return Raw16, len(keys)
	case len(keys[0]) == uuidLen:
		s := h.mix[UUID]
		for i, key := range keys {
			if len(key) != uuidLen {
				return UUID, i
			}
			a, b, ok := parseUUID(key)
			if !ok {
				return UUID, i
			}
			his[i], los[i] = s.rounds(a, b)
		}
		return UUID, len(keys)
	}
	return Raw16, 0
}

// Record hashes the stored bytes of a key of form Bytes or Digest.
func (h *Hasher) Record(record []byte) uint64 {
	if h.untrusted {
		return h.sip.sum(record)
	}
	var d xxhash.Digest
	d.ResetWithSeed(h.xx)
	_, _ = d.Write(record) // never fails
	return d.Sum64()
}

// Text returns the key that a stored pair of a fixed form stands for.
func (h *Hasher) Text(k Key) []byte {
	a, b := h.unmix(k)
	switch k.Form {
	case UUID:
		return formatUUID(a, b)
	case ULID:
		return formatULID(a, b)
	}
	out := make([]byte, 16)
	binary.LittleEndian.PutUint64(out, a)
	binary.LittleEndian.PutUint64(out[8:], b)
	return out
}

// fixed is two rounds of a Feistel network: a bijection whatever the round
// function is. After two rounds each half depends on all of the key. The round
// function is a folded multiplication (2.5 ns per key), or SipHash for untrusted
// keys: then Hi can't be predicted without the seed.
func (h *Hasher) fixed(f Form, a, b uint64) Key {
	s := &h.mix[f]
	if h.untrusted {
		b ^= h.sip.word(a ^ s[0])
		a ^= h.sip.word(b ^ s[2])
	} else {
		a, b = s.rounds(a, b)
	}
	return Key{Hi: a, Lo: b, Form: f}
}

// rounds are the two of keys that are trusted.
func (s *mixSeed) rounds(a, b uint64) (hi, lo uint64) {
	b ^= fold(a^s[0], s[1])
	a ^= fold(b^s[2], s[3])
	return a, b
}

func (h *Hasher) unmix(k Key) (a, b uint64) {
	s := &h.mix[k.Form]
	a, b = k.Hi, k.Lo
	if h.untrusted {
		a ^= h.sip.word(b ^ s[2])
		b ^= h.sip.word(a ^ s[0])
	} else {
		a ^= fold(b^s[2], s[3])
		b ^= fold(a^s[0], s[1])
	}
	return a, b
}

// fold multiplies to 128 bits and folds the halves: every bit of x reaches the
// middle of the product and so all of the result.
func fold(x, odd uint64) uint64 {
	hi, lo := bits.Mul64(x, odd)
	return hi ^ lo
}
