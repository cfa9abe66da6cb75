package httpidem

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
)

// A fingerprint tells one request from another with the same key.
type fingerprint [16]byte

var errBodyTooLarge = errors.New("httpidem: request body too large")

// readBody reads the whole body and puts one in its place that the handler can
// read. The body is closed by the server, as ever.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > limit {
		return nil, errBodyTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, errBodyTooLarge
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(body), r.Body}
	return body, nil
}

// fingerprintOf hashes method, path, query, content type and body, each with its
// length before it, so that no two requests are written alike.
func fingerprintOf(r *http.Request, body []byte) (f fingerprint) {
	h := sha256.New()
	var size [8]byte
	part := func(p []byte) {
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write(p)
	}
	part([]byte(r.Method))
	part([]byte(r.URL.EscapedPath()))
	part([]byte(r.URL.RawQuery))
	part([]byte(r.Header.Get("Content-Type")))
	part(body)
	copy(f[:], h.Sum(nil))
	return f
}
