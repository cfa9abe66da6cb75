package bench

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"

	"github.com/firstseen/firstseen/internal/hash/hashtest"
)

// Key lengths in bytes.
const (
	variableMin = 8
	variableMax = variableMin + 63
	maxKeyLen   = variableMax
)

// mix is the finalizer of splitmix64 (Steele, Lea, Flood 2014): a bijection, so
// different indices never give the same first eight bytes of a key.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// A keyMaker turns indices into keys. It has no state that changes.
type keyMaker struct {
	kind KeyKind
	seed uint64
}

// appendKey appends the key of index to dst. For one seed and kind, different
// indices below 2^62 have different keys, and the same index always the same.
func (m keyMaker) appendKey(dst []byte, index uint64) []byte {
	if m.kind == Hostile {
		hi := mix(index>>2 ^ m.seed)
		return hashtest.AppendFour(dst, hi, mix(hi+0x9e3779b97f4a7c15), index)
	}
	hi := mix(index ^ m.seed)
	lo := mix(hi + 0x9e3779b97f4a7c15)
	switch m.kind {
	case UUID:
		return appendUUID(dst, hi, lo)
	case Raw36:
		dst = appendWords(dst, hi, lo, hi*lo, hi^bits.RotateLeft64(lo, 23))
		return binary.LittleEndian.AppendUint32(dst, uint32(hi+lo))
	case Variable:
		// The length follows from the key's own bits, and the first eight bytes
		// tell keys apart whatever it is.
		n := variableMin + int(hi>>58)
		dst = binary.LittleEndian.AppendUint64(dst, hi)
		for left := n - 8; left > 0; left -= 8 {
			dst = binary.LittleEndian.AppendUint64(dst, lo)
			lo = bits.RotateLeft64(lo, 17) * 0x9fb21c651e98df25
			if left < 8 {
				dst = dst[:len(dst)-8+left]
			}
		}
		return dst
	}
	return appendWords(dst, hi, lo)
}

func appendWords(dst []byte, words ...uint64) []byte {
	for _, w := range words {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst
}

// appendUUID writes version and variant over six bits of the second word; the
// first word, which makes keys different, keeps all but the four of the
// version. They move into the second word.
func appendUUID(dst []byte, hi, lo uint64) []byte {
	version := hi >> 12 & 15
	hi = hi&^(15<<12) | 4<<12
	lo = lo&^(3<<62|15) | 2<<62 | version
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], hi)
	binary.BigEndian.PutUint64(raw[8:], lo)
	var text [36]byte
	hex.Encode(text[0:8], raw[0:4])
	text[8] = '-'
	hex.Encode(text[9:13], raw[4:6])
	text[13] = '-'
	hex.Encode(text[14:18], raw[6:8])
	text[18] = '-'
	hex.Encode(text[19:23], raw[8:10])
	text[23] = '-'
	hex.Encode(text[24:36], raw[10:16])
	return append(dst, text[:]...)
}

// rng is a wyrand generator (Wang Yi): one multiplication a number, good enough
// to choose which key is repeated.
type rng uint64

func (r *rng) next() uint64 {
	*r += 0xa0761d6478bd642f
	hi, lo := bits.Mul64(uint64(*r), uint64(*r)^0xe7037ed1a0b428db)
	return hi ^ lo
}

// below returns a number in [0, n).
func (r *rng) below(n uint64) uint64 {
	hi, _ := bits.Mul64(r.next(), n)
	return hi
}
