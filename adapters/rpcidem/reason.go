package rpcidem

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is that of the ErrorInfo in every error that a Server makes itself.
const Domain = "firstseen"

// Reasons in ErrorInfo.
const (
	ReasonKeyMissing  = "IDEMPOTENCY_KEY_MISSING"       // INVALID_ARGUMENT
	ReasonKeyInvalid  = "IDEMPOTENCY_KEY_INVALID"       // INVALID_ARGUMENT
	ReasonNoCaller    = "IDEMPOTENCY_CALLER_UNKNOWN"    // UNAUTHENTICATED
	ReasonUnreadable  = "IDEMPOTENCY_MESSAGE_UNKNOWN"   // INTERNAL
	ReasonMismatch    = "IDEMPOTENCY_MISMATCH"          // INVALID_ARGUMENT
	ReasonInFlight    = "IDEMPOTENCY_IN_FLIGHT"         // ABORTED, with RetryInfo
	ReasonNotStored   = "IDEMPOTENCY_ANSWER_NOT_STORED" // ALREADY_EXISTS
	ReasonInDoubt     = "IDEMPOTENCY_IN_DOUBT"          // FAILED_PRECONDITION
	ReasonLeaseLost   = "IDEMPOTENCY_LEASE_LOST"        // ABORTED, with RetryInfo
	ReasonUnavailable = "IDEMPOTENCY_STORE_UNAVAILABLE" // UNAVAILABLE, with RetryInfo
)

// refusal returns an answer with a status of our own. A retry of 0: none is
// advised.
func refusal(code codes.Code, reason, message string, retry time.Duration) Answer {
	s := &spb.Status{Code: int32(code), Message: message}
	attach(s, &errdetails.ErrorInfo{Reason: reason, Domain: Domain})
	if retry > 0 {
		attach(s, &errdetails.RetryInfo{RetryDelay: durationpb.New(retry)})
	}
	return Answer{Status: s}
}

// attach adds a detail. One that can't be encoded is left out: code and message
// say the same.
func attach(s *spb.Status, detail proto.Message) {
	if any, err := anypb.New(detail); err == nil {
		s.Details = append(s.Details, any)
	}
}

// Reason returns the reason of an error that a Server made itself, and the pause
// that it advises, or "" for another error. details are those of the status.
func Reason(details []proto.Message) (reason string, retry time.Duration) {
	for _, d := range details {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == Domain {
				reason = d.GetReason()
			}
		case *errdetails.RetryInfo:
			retry = d.GetRetryDelay().AsDuration()
		}
	}
	return reason, retry
}
