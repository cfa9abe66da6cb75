package rpcidem

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// A Call is one unary call, as an interceptor sees it.
type Call struct {
	// Procedure is /package.Service/Method.
	Procedure string
	// Header returns the values of request metadata. Names are in lower case.
	Header func(name string) []string
	// Certificate is the client's TLS certificate, where the framework knows it:
	// gRPC does, connect does not.
	Certificate []byte
	// Message is the request.
	Message proto.Message
}

// An Answer is what a call ends with.
type Answer struct {
	// Message is the response of a call that succeeded.
	Message proto.Message
	// Status is nil when the call succeeded.
	Status *spb.Status
	// Err is the handler's own error, of which Status is a copy. It is nil in
	// answers that the handler did not give.
	Err error
	// Header and Trailer are response metadata. Names are in lower case.
	Header, Trailer map[string][]string
}

func (a *Answer) code() codes.Code {
	if a.Status == nil {
		return codes.OK
	}
	return codes.Code(a.Status.GetCode())
}

// ByCaller is the default scope: the metadata "authorization", hashed, or the
// client's TLS certificate. It is "" where there are neither, and such calls are
// refused: a service without either must say by another function whose keys these
// are.
//
// A caller whose token is renewed between a call and its retry counts as another
// one. Where tokens are short-lived, give a scope that returns the user's own
// name.
func ByCaller(_ context.Context, c *Call) string {
	if auth := c.Header("authorization"); len(auth) > 0 && auth[0] != "" {
		sum := sha256.Sum256([]byte(auth[0]))
		return "auth:" + hex.EncodeToString(sum[:16])
	}
	if len(c.Certificate) > 0 {
		sum := sha256.Sum256(c.Certificate)
		return "cert:" + hex.EncodeToString(sum[:16])
	}
	return ""
}

// ByHeader returns a scope that is the value of one piece of metadata, such as a
// tenant that a gateway has checked. A call without it is refused.
func ByHeader(name string) func(context.Context, *Call) string {
	return func(_ context.Context, c *Call) string {
		if v := c.Header(name); len(v) > 0 && v[0] != "" {
			return name + ":" + v[0]
		}
		return ""
	}
}

// Everybody is a scope for services where all callers are one. Never use it where
// callers don't know each other: one could read the stored answers of another.
func Everybody(context.Context, *Call) string { return "everybody" }
