package httpidem

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// A Problem is the body of every answer that the middleware makes itself, as
// application/problem+json (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// Types of problems. They are URNs, since a library has no page of its own at the
// user's service.
const (
	TypeKeyMissing   = "urn:firstseen:idempotency:key-missing"      // 400
	TypeKeyInvalid   = "urn:firstseen:idempotency:key-invalid"      // 400
	TypeNoCaller     = "urn:firstseen:idempotency:caller-unknown"   // 400
	TypeBodyTooLarge = "urn:firstseen:idempotency:body-too-large"   // 413
	TypeBodyUnread   = "urn:firstseen:idempotency:body-unreadable"  // 400
	TypeMismatch     = "urn:firstseen:idempotency:payload-mismatch" // 422
	TypeInFlight     = "urn:firstseen:idempotency:in-flight"        // 409
	TypeNotStored    = "urn:firstseen:idempotency:answer-not-stored"
	TypeInDoubt      = "urn:firstseen:idempotency:in-doubt"    // 409
	TypeLeaseLost    = "urn:firstseen:idempotency:lease-lost"  // 409
	TypeUnavailable  = "urn:firstseen:idempotency:unavailable" // 503
)

func (p Problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	body, err := json.Marshal(p)
	if err != nil { // four strings and a number
		http.Error(w, p.Title, p.Status)
		return
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // a client that has gone learns it by its retry
}

// retryAfter sets the header to whole seconds, at least one.
func retryAfter(w http.ResponseWriter, d time.Duration) {
	seconds := max(1, (d+time.Second-1)/time.Second)
	w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
}
