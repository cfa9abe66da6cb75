package hash

import (
	"encoding/binary"
	"encoding/hex"
)

const (
	uuidLen = 36 // 8-4-4-4-12 lower-case hexadecimal digits
	ulidLen = 26 // Crockford's base 32, upper case, 128 bits

	ones = 0x0101010101010101
)

// parseUUID reads a canonical (lower-case) UUID text into two words. Every
// other text, upper case included, is a key of its own and gives false.
func parseUUID(t []byte) (a, b uint64, ok bool) {
	_ = t[uuidLen-1]
	if (t[8]^'-')|(t[13]^'-')|(t[18]^'-')|(t[23]^'-') != 0 {
		return 0, 0, false // most other keys of this length
	}
	le := binary.LittleEndian
	a0, bad0 := parseHex8(le.Uint64(t))
	a1, bad1 := parseHex8(uint64(le.Uint32(t[9:])) | uint64(le.Uint32(t[14:]))<<32)
	b0, bad2 := parseHex8(uint64(le.Uint32(t[19:])) | uint64(le.Uint32(t[24:]))<<32)
	b1, bad3 := parseHex8(le.Uint64(t[28:]))
	return a0 | a1<<32, b0 | b1<<32, bad0|bad1|bad2|bad3 == 0
}

// parseHex8 turns eight lower-case hexadecimal digits into four bytes, all
// digits at once; bad is zero if they were that.
func parseHex8(x uint64) (v, bad uint64) {
	n := x&(0x0f*ones) + 9*(x>>6&ones) // bit 6 tells letters from digits
	// Writing the digits again from their values finds every other character;
	// values over 15 have to be looked for apart, or 'o' would pass.
	again := n + 0x30*ones + 39*((n+6*ones)>>4&ones)
	bad = again ^ x | n&(0xf0*ones)
	n = (n<<4 | n>>8) & 0x00ff00ff00ff00ff
	n = (n | n>>8) & 0x0000ffff0000ffff
	return (n | n>>16) & 0xffffffff, bad
}

func formatUUID(a, b uint64) []byte {
	var raw [16]byte
	binary.LittleEndian.PutUint64(raw[:], a)
	binary.LittleEndian.PutUint64(raw[8:], b)
	out := make([]byte, 0, uuidLen)
	for i, part := range [][]byte{raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:]} {
		if i > 0 {
			out = append(out, '-')
		}
		out = hex.AppendEncode(out, part)
	}
	return out
}

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// crockfordValue holds the value of each character, 0xff where there is none.
var crockfordValue = func() (v [256]uint8) {
	for i := range v {
		v[i] = 0xff
	}
	for i, c := range []byte(crockford) {
		v[c] = uint8(i)
	}
	return v
}()

// parseULID reads a canonical (upper-case) ULID text: 26 digits of five bits,
// of which the first holds three.
func parseULID(t []byte) (a, b uint64, ok bool) {
	_ = t[ulidLen-1]
	var bad uint8
	for _, c := range t[:13] {
		v := crockfordValue[c]
		bad |= v
		a = a<<5 | uint64(v&31)
	}
	for _, c := range t[13:ulidLen] {
		v := crockfordValue[c]
		bad |= v
		b = b<<5 | uint64(v&31)
	}
	// 13 digits are 65 bits: a first digit over 7 would be lost in a, and b
	// would lose its highest bit, which therefore moves to the top of a.
	ok = bad&0xe0 == 0 && t[0] <= '7'
	return a | uint64(crockfordValue[t[13]]>>4&1)<<63, b, ok
}

func formatULID(a, b uint64) []byte {
	out := make([]byte, ulidLen)
	top := a >> 63
	a &^= 1 << 63
	for i := 12; i >= 0; i-- {
		out[i] = crockford[a&31]
		a >>= 5
	}
	for i := ulidLen - 1; i > 13; i-- {
		out[i] = crockford[b&31]
		b >>= 5
	}
	out[13] = crockford[b&15|top<<4]
	return out
}
