package redisstore

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/firstseen/firstseen/dedup"
)

// A claim's record is "c" and 16 random bytes. All claims of one call share them: a
// script that takes one record for a thousand keys costs the server a microsecond less
// for each (BenchmarkClaims). Their tokens differ all the same, so that none ends
// another key's claim: a token is the record's bytes, each half xored with a hash of
// the key.

// newRecord returns the record of a call.
func newRecord() []byte {
	record := make([]byte, 1+len(dedup.Token{}))
	_, _ = rand.Read(record) // never fails
	record[0] = 'c'
	return record
}

// tokenOf returns the token of a claim of key by its call's record.
func tokenOf(record, key []byte) (t dedup.Token) {
	copy(t[:], record[1:])
	mask(&t, key)
	return t
}

// recordOf returns what stands in the store while c is held; empty: nobody was asked.
func recordOf(c *dedup.Claim) []byte {
	if c.Unguarded {
		return nil
	}
	t := c.Token
	mask(&t, c.Key)
	return append(append(make([]byte, 0, 1+len(t)), 'c'), t[:]...)
}

// mask turns a record's bytes into a token and back. The hash is FNV-1a: it must be
// the same in every process that ends the claim, and nothing depends on its quality.
func mask(t *dedup.Token, key []byte) {
	h := uint64(0xcbf29ce484222325)
	for _, b := range key {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	le := binary.LittleEndian
	le.PutUint64(t[:8], le.Uint64(t[:8])^h)
	le.PutUint64(t[8:], le.Uint64(t[8:])^(h*0x9e3779b97f4a7c15))
}
