package keys

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrParts: the bytes are not a joined key.
var ErrParts = errors.New("keys: not a joined key")

// Join returns a key of parts. Different lists of parts give different keys.
func Join[P ~string | ~[]byte](parts ...P) []byte {
	n := 0
	for _, p := range parts {
		n += len(p) + binary.MaxVarintLen16
	}
	return Append(make([]byte, 0, n), parts...)
}

// Append appends parts to key and returns it, as append does. Appending them one
// by one, strings or bytes, gives the same key as Join. It allocates only where
// key has no room.
func Append[P ~string | ~[]byte](key []byte, parts ...P) []byte {
	for _, p := range parts {
		key = binary.AppendUvarint(key, uint64(len(p)))
		key = append(key, p...)
	}
	return key
}

// Split returns the parts of a joined key, to show or to route by them. They
// are slices of key. Other bytes give ErrParts.
func Split(key []byte) ([][]byte, error) {
	var parts [][]byte
	for at := 0; at < len(key); {
		n, used := binary.Uvarint(key[at:])
		switch {
		case used <= 0, used > 1 && key[at+used-1] == 0:
			return nil, fmt.Errorf("%w: bad length at byte %d", ErrParts, at)
		case n > uint64(len(key)-at-used):
			return nil, fmt.Errorf("%w: part at byte %d has %d bytes of %d", ErrParts, at, len(key)-at-used, n)
		}
		at += used
		parts = append(parts, key[at:at+int(n):at+int(n)])
		at += int(n)
	}
	return parts, nil
}
