package record

import (
	"crypto/sha256"

	"github.com/firstseen/firstseen/dedup"
)

const (
	// escape begins every encoding that is not the key itself. A line never
	// holds it.
	escape = '\n'
	// digestMark after escape: a SHA-256 follows.
	digestMark = '#'
)

// AppendKey appends the encoding of a key of any length, empty included, to
// dst. It has 1 to dedup.MaxKeyLen bytes:
//
//	the key itself            it has 1 to 65,535 bytes and no line feed in front
//	"\n"                      the empty key
//	"\n\n" and the rest       it begins with a line feed, and has up to 65,534 bytes
//	"\n#" and its SHA-256     longer keys, 34 bytes
//
// No two rows can meet, so different keys have different encodings (two long
// keys as surely as SHA-256 has no collision). Only the last row needs the whole
// key to be read.
func AppendKey(dst, key []byte) []byte {
	switch {
	case len(key) == 0:
		return append(dst, escape)
	case key[0] != escape && len(key) <= dedup.MaxKeyLen:
		return append(dst, key...)
	case key[0] == escape && len(key) < dedup.MaxKeyLen:
		return append(append(dst, escape), key...)
	default:
		sum := sha256.Sum256(key)
		return append(append(dst, escape, digestMark), sum[:]...)
	}
}
