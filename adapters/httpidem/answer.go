package httpidem

import (
	"encoding/binary"
	"errors"
	"net/http"
)

// An answer is what is stored for a key. Its bytes:
//
//	1   version, 1
//	1   state: 0 stored, 1 streamed, 2 too large, 3 settled by hand without an answer
//	16  fingerprint of the request
//	2   status, big endian            (state 0 only, as all that follows)
//	2   number of header fields, big endian
//	    for each: length of name and value (2 and 4 bytes, big endian), name, value
//	    the body, up to the end
type answer struct {
	state       answerState
	fingerprint fingerprint
	status      int
	header      http.Header
	body        []byte
}

type answerState uint8

const (
	stored answerState = iota
	streamed
	tooLarge
	settled
)

const (
	answerVersion = 1
	answerFixed   = 2 + len(fingerprint{})
	answerHead    = answerFixed + 4
	maxFields     = 1<<16 - 1
)

var errAnswer = errors.New("httpidem: the stored answer can't be read: it was written by something else")

// encode writes the answer with the header fields in names only.
func (a *answer) encode(names []string) []byte {
	b := make([]byte, 0, answerHead+512+len(a.body))
	b = append(b, answerVersion, byte(a.state))
	b = append(b, a.fingerprint[:]...)
	if a.state != stored {
		return b
	}
	b = binary.BigEndian.AppendUint16(b, uint16(a.status))
	at := len(b)
	b = append(b, 0, 0)
	fields := 0
	for _, name := range names {
		for _, value := range a.header.Values(name) {
			if fields == maxFields || len(name) > 1<<16-1 {
				break
			}
			fields++
			b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
			b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
			b = append(append(b, name...), value...)
		}
	}
	binary.BigEndian.PutUint16(b[at:], uint16(fields))
	return append(b, a.body...)
}

// decodeAnswer reads what encode wrote. The body is a piece of data.
func decodeAnswer(data []byte) (a answer, err error) {
	if len(data) < answerFixed || data[0] != answerVersion || answerState(data[1]) > settled {
		return answer{}, errAnswer
	}
	a.state = answerState(data[1])
	copy(a.fingerprint[:], data[2:])
	if a.state != stored {
		if len(data) != answerFixed {
			return answer{}, errAnswer
		}
		return a, nil
	}
	if len(data) < answerHead {
		return answer{}, errAnswer
	}
	a.status = int(binary.BigEndian.Uint16(data[answerFixed:]))
	if a.status < 200 || a.status > 999 {
		return answer{}, errAnswer
	}
	fields := int(binary.BigEndian.Uint16(data[answerFixed+2:]))
	rest := data[answerHead:]
	a.header = http.Header{}
	for range fields {
		if len(rest) < 6 {
			return answer{}, errAnswer
		}
		name, value := uint64(binary.BigEndian.Uint16(rest)), uint64(binary.BigEndian.Uint32(rest[2:]))
		rest = rest[6:]
		if uint64(len(rest)) < name+value {
			return answer{}, errAnswer
		}
		a.header.Add(string(rest[:name]), string(rest[name:name+value]))
		rest = rest[name+value:]
	}
	a.body = rest
	return a, nil
}

// replay writes a stored answer as it was first given.
func (a *answer) replay(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	h.Set("Idempotent-Replayed", "true")
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that has gone learns it by its retry
}
