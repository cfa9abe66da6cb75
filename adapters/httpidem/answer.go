package httpidem

import (
	"encoding/binary"
	"net/http"

	"github.com/firstseen/firstseen/adapters/internal/idem"
)

// An answer is what a record of package idem has as its payload. Its bytes:
//
//	2   status, big endian
//	2   number of header fields, big endian
//	    for each: length of name and value (2 and 4 bytes, big endian), name, value
//	    the body, up to the end
type answer struct {
	status int
	header http.Header
	body   []byte
}

const (
	answerHead = 4
	maxFields  = 1<<16 - 1
)

// append appends the answer to b, with the header fields in names only.
func (a *answer) append(b []byte, names []string) []byte {
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

// decodeAnswer reads what append wrote. The body is a piece of data.
func decodeAnswer(data []byte) (a answer, err error) {
	if len(data) < answerHead {
		return answer{}, idem.ErrRecord
	}
	a.status = int(binary.BigEndian.Uint16(data))
	if a.status < 200 || a.status > 999 {
		return answer{}, idem.ErrRecord
	}
	fields := int(binary.BigEndian.Uint16(data[2:]))
	rest := data[answerHead:]
	a.header = http.Header{}
	for range fields {
		if len(rest) < 6 {
			return answer{}, idem.ErrRecord
		}
		name, value := uint64(binary.BigEndian.Uint16(rest)), uint64(binary.BigEndian.Uint32(rest[2:]))
		rest = rest[6:]
		if uint64(len(rest)) < name+value {
			return answer{}, idem.ErrRecord
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
