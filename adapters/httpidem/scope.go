package httpidem

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
)

// ByCaller is the default scope: the credentials of the request, hashed, or the
// fingerprint of the client's TLS certificate. It is "" where there are neither,
// and such requests are refused: a service without either must say by another
// function whose keys these are.
//
// A caller whose token is renewed between a request and its retry counts as
// another one. Where tokens are short-lived, give a scope that returns the user's
// own name.
func ByCaller(r *http.Request) string {
	if auth := r.Header.Get("Authorization"); auth != "" {
		sum := sha256.Sum256([]byte(auth))
		return "auth:" + hex.EncodeToString(sum[:16])
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
		return "cert:" + hex.EncodeToString(sum[:16])
	}
	return ""
}

// ByHeader returns a scope that is the value of one header, such as an API key
// or a tenant that a gateway has checked. A request without it is refused.
func ByHeader(name string) func(*http.Request) string {
	return func(r *http.Request) string {
		if v := r.Header.Get(name); v != "" {
			return name + ":" + v
		}
		return ""
	}
}

// WithRoute narrows a scope to the method and path of the request, so that a key
// may be used again for another operation. Without it the same key at another
// path is answered with 422.
func WithRoute(scope func(*http.Request) string) func(*http.Request) string {
	return func(r *http.Request) string {
		s := scope(r)
		if s == "" {
			return ""
		}
		return s + "\x00" + r.Method + "\x00" + r.URL.EscapedPath()
	}
}

// Everybody is a scope for services where all callers are one, such as a webhook
// that one sender calls. Never use it where callers don't know each other: one
// could read the stored answers of another.
func Everybody(*http.Request) string { return "everybody" }
