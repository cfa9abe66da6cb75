package idem

import (
	"crypto/sha256"
	"encoding/binary"
)

// A Fingerprint tells one request from another with the same key.
type Fingerprint [16]byte

// FingerprintOf hashes the parts, each with its length before it, so that no two
// requests are written alike.
func FingerprintOf(body []byte, parts ...string) (f Fingerprint) {
	// Short parts are hashed in one piece: a Write for each costs more than the hash.
	b := make([]byte, 0, 512)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(len(body)))
	if len(body) <= cap(b)-len(b) {
		sum := sha256.Sum256(append(b, body...))
		copy(f[:], sum[:])
		return f
	}
	h := sha256.New()
	h.Write(b)
	h.Write(body)
	copy(f[:], h.Sum(nil))
	return f
}
