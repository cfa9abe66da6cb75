package httpidem

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/firstseen/firstseen/adapters/internal/idem"
)

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

// fingerprintOf hashes what makes a request another one.
func fingerprintOf(r *http.Request, body []byte) idem.Fingerprint {
	return idem.FingerprintOf(body, r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Content-Type"))
}
