package dedup

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// An envelope on disk:
//
//	offset  bytes  content
//	0       1      version, 0xD1
//	1       1      flags: 1 the rest is the text of a final error, 2 a fingerprint comes first
//	2       32     SHA-256 of the fingerprint, only with flag 2
//	2 or 34 rest   the result, or the text of the error
//
// A reader refuses other versions and flags, and an envelope that says nothing (no
// flag, no rest): no result is kept instead of that one. The guard stores the envelope
// with its own checksum.
const (
	envelopeVersion = 0xD1
	flagFinal       = 1 << 0 // the rest is the text of an error
	flagFingerprint = 1 << 1 // the fingerprint's hash comes first
	envelopeHeader  = 2
)

// errEnvelope: the kept result was not written by Do.
var errEnvelope = errors.New("not an answer that Do has kept")

// An envelope is what Do keeps as the result of a claim.
type envelope struct {
	final   bool
	printed bool              // hash is set
	hash    [sha256.Size]byte // of the fingerprint
	body    []byte            // the result, or the text of the error
}

// encode returns nil where there is nothing to keep.
func (e *envelope) encode() []byte {
	if !e.final && !e.printed && len(e.body) == 0 {
		return nil
	}
	b := make([]byte, envelopeHeader, envelopeHeader+sha256.Size+len(e.body))
	b[0] = envelopeVersion
	if e.final {
		b[1] |= flagFinal
	}
	if e.printed {
		b[1] |= flagFingerprint
		b = append(b, e.hash[:]...)
	}
	return append(b, e.body...)
}

// decodeEnvelope takes exactly what encode makes; body is a part of b.
func decodeEnvelope(b []byte) (envelope, error) {
	var e envelope
	if len(b) == 0 {
		return e, nil
	}
	switch {
	case len(b) < envelopeHeader:
		return e, fmt.Errorf("dedup: %w: it has %d bytes", errEnvelope, len(b))
	case b[0] != envelopeVersion:
		return e, fmt.Errorf("dedup: %w: its version is %#x, known is %#x", errEnvelope, b[0], envelopeVersion)
	case b[1]&^(flagFinal|flagFingerprint) != 0:
		return e, fmt.Errorf("dedup: %w: its flags are %#x", errEnvelope, b[1])
	}
	e.final, e.printed = b[1]&flagFinal != 0, b[1]&flagFingerprint != 0
	rest := b[envelopeHeader:]
	if e.printed {
		if len(rest) < sha256.Size {
			return envelope{}, fmt.Errorf("dedup: %w: its fingerprint has %d bytes", errEnvelope, len(rest))
		}
		rest = rest[copy(e.hash[:], rest):]
	}
	if b[1] == 0 && len(rest) == 0 {
		return envelope{}, fmt.Errorf("dedup: %w: it is empty", errEnvelope)
	}
	if len(rest) > 0 {
		e.body = rest
	}
	return e, nil
}
