package idem

import "errors"

// A Record is what is stored for a key. Its bytes:
//
//	1   version, 1
//	1   state: 0 stored, 1 streamed, 2 too large, 3 settled without an answer
//	16  fingerprint of the request
//	    the payload, up to the end    (state 0 only)
type Record struct {
	State       State
	Fingerprint Fingerprint
	Payload     []byte
}

// State says what is known of a marked key's answer.
type State uint8

const (
	// Stored: the payload is the answer.
	Stored State = iota
	// Streamed: the answer passed by and was not kept.
	Streamed
	// TooLarge: the answer is longer than what is kept.
	TooLarge
	// Settled: the outcome was settled by hand, and no answer is known.
	Settled
)

const (
	recordVersion = 1
	// HeadSize is the length in bytes of what stands before the payload.
	HeadSize = 2 + len(Fingerprint{})
)

// ErrRecord says that stored bytes are no record, or that their payload is none of
// the front's.
var ErrRecord = errors.New("the stored answer can't be read: it was written by something else")

// AppendHead appends what stands before the payload.
func AppendHead(b []byte, s State, f Fingerprint) []byte {
	return append(append(b, recordVersion, byte(s)), f[:]...)
}

// DecodeRecord reads a record. The payload is a piece of data.
func DecodeRecord(data []byte) (r Record, err error) {
	if len(data) < HeadSize || data[0] != recordVersion || State(data[1]) > Settled {
		return Record{}, ErrRecord
	}
	r.State = State(data[1])
	copy(r.Fingerprint[:], data[2:])
	if r.Payload = data[HeadSize:]; r.State != Stored && len(r.Payload) > 0 {
		return Record{}, ErrRecord
	}
	return r, nil
}
