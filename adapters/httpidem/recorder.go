package httpidem

import (
	"bufio"
	"errors"
	"maps"
	"net"
	"net/http"
	"time"

	"github.com/firstseen/firstseen/adapters/internal/idem"
)

// A recorder keeps the handler's answer back until its key is marked. A handler
// that streams, hijacks, pushes or writes more than limit takes the answer out of
// its hands: then the key is marked first (begin), and what the handler writes
// passes through.
type recorder struct {
	w      http.ResponseWriter
	header http.Header
	status int
	body   []byte
	limit  int

	// begin marks the key before the first byte passes and says whether it may.
	begin   func(status int, why idem.State) bool
	passing bool
	refused bool // begin said no: the client has been told, the handler writes into the void
}

var errRefused = errors.New("httpidem: the answer was not sent: its key could not be marked")

func newRecorder(w http.ResponseWriter, limit int, begin func(int, idem.State) bool) *recorder {
	return &recorder{w: w, header: w.Header().Clone(), limit: limit, begin: begin}
}

// Header implements [http.ResponseWriter].
func (r *recorder) Header() http.Header {
	if r.passing {
		return r.w.Header()
	}
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}

// WriteHeader implements [http.ResponseWriter]. Informational statuses go to the
// client at once, as the server does it.
func (r *recorder) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		if r.status == 0 && !r.passing {
			setHeader(r.w.Header(), r.Header())
			r.w.WriteHeader(status)
		}
		return
	}
	if r.status == 0 {
		r.status = status
	}
}

// Write implements [http.ResponseWriter].
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !r.passing && !r.refused && len(r.body)+len(p) > r.limit {
		r.pass(idem.TooLarge)
	}
	switch {
	case r.refused:
		return 0, errRefused
	case r.passing:
		return r.w.Write(p)
	}
	r.body = append(r.body, p...)
	return len(p), nil
}

// pass lets the answer through from here on.
func (r *recorder) pass(why idem.State) {
	if r.passing || r.refused {
		return
	}
	if !r.begin(r.statusOr200(), why) {
		r.refused = true
		return
	}
	r.send()
}

func (r *recorder) statusOr200() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

// send gives the client what was kept back.
func (r *recorder) send() {
	r.passing = true
	setHeader(r.w.Header(), r.header)
	if r.status != 0 {
		r.w.WriteHeader(r.status)
	}
	if len(r.body) > 0 {
		_, _ = r.w.Write(r.body) // a client that has gone learns it by its retry
	}
	r.body = nil
}

func setHeader(to, from http.Header) {
	maps.DeleteFunc(to, func(name string, _ []string) bool { _, ok := from[name]; return !ok })
	maps.Copy(to, from)
}

// Flush implements [http.Flusher].
func (r *recorder) Flush() { _ = r.FlushError() }

// FlushError is what [http.ResponseController] calls.
func (r *recorder) FlushError() error {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	r.pass(idem.Streamed)
	if r.refused {
		return errRefused
	}
	return http.NewResponseController(r.w).Flush()
}

// Hijack implements [http.Hijacker].
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !r.passing && !r.refused {
		if !r.begin(http.StatusSwitchingProtocols, idem.Streamed) {
			r.refused = true
		}
		r.passing = !r.refused
	}
	if r.refused {
		return nil, nil, errRefused
	}
	return http.NewResponseController(r.w).Hijack()
}

// Push implements [http.Pusher].
func (r *recorder) Push(target string, opts *http.PushOptions) error {
	pusher, ok := r.w.(http.Pusher)
	if !ok {
		return http.ErrNotSupported
	}
	if r.pass(idem.Streamed); r.refused {
		return errRefused
	}
	return pusher.Push(target, opts)
}

// SetReadDeadline is what [http.ResponseController] calls.
func (r *recorder) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(r.w).SetReadDeadline(t)
}

// SetWriteDeadline is what [http.ResponseController] calls.
func (r *recorder) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(r.w).SetWriteDeadline(t)
}

// EnableFullDuplex is what [http.ResponseController] calls.
func (r *recorder) EnableFullDuplex() error {
	return http.NewResponseController(r.w).EnableFullDuplex()
}
