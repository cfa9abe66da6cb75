package sqlstore

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/firstseen/firstseen/dedup"
)

// maxColumn is the length of the key column in bytes. MySQL's indexes take 3,072
// bytes, PostgreSQL's 2,704; 255 keeps pages full of rows on both.
const maxColumn = 255

// reserved is how rows begin whose key column is not the key itself. A key that
// begins so by chance is digested like a long one, so that no two keys share a
// row.
const reserved = "\x00fs:"

// SweeperKey is the key that a store claims while it sweeps. No caller's key is
// stored like this.
const SweeperKey = reserved + "sweeper"

// EncodeKey returns what stands in the key column: the key itself, or its
// SHA-256 digest where it is too long.
func EncodeKey(key []byte) string {
	if len(key) <= maxColumn && !strings.HasPrefix(string(key[:min(len(key), len(reserved))]), reserved) {
		return string(key)
	}
	digest := sha256.Sum256(key)
	return reserved + string(digest[:])
}

// encode checks a key and returns what the dialect makes of it. The error names
// the key.
func encode(d Dialect, i int, key []byte) (string, error) {
	bad := &dedup.KeyError{Index: i, Len: len(key)}
	if len(key) == 0 || len(key) > dedup.MaxKeyLen {
		return "", bad
	}
	column, err := d.Key(key)
	if err != nil {
		return "", fmt.Errorf("%w (%w)", bad, err)
	}
	return column, nil
}
