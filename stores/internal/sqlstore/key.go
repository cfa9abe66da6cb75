package sqlstore

import (
	"crypto/sha256"
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

// sweeperKey is the key that a store claims while it sweeps. No caller's key is
// stored like this.
const sweeperKey = reserved + "sweeper"

// encodeKey returns what stands in the key column: the key itself, or its
// SHA-256 digest where it is too long.
func encodeKey(key []byte) string {
	if len(key) <= maxColumn && !strings.HasPrefix(string(key[:min(len(key), len(reserved))]), reserved) {
		return string(key)
	}
	digest := sha256.Sum256(key)
	return reserved + string(digest[:])
}

// checkKey returns a *KeyError for a key that no guard takes.
func checkKey(i int, key []byte) error {
	if len(key) == 0 || len(key) > dedup.MaxKeyLen {
		return &dedup.KeyError{Index: i, Len: len(key)}
	}
	return nil
}
