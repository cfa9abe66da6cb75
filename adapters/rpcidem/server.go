package rpcidem

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/adapters/internal/idem"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/dedup/keys"
)

// A Server runs the handler of each operation once and gives its answer to every
// retry. New makes one; it may be used by any number of goroutines.
type Server struct {
	o      Options
	config idem.Config
	counts counts
}

// New returns a server on a guard, or one error that names every problem of the
// options. The guard must keep results of at least Options.MaxAnswer and what
// Options.Headers come to.
func New(guard dedup.Guard, o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{o: o}
	s.config.Guard, s.config.Intents, s.config.Logger = guard, o.Intents, o.Logger
	s.config.Wait, s.config.RetryAfter, s.config.CallLimit = o.Wait, o.RetryAfter, o.CallLimit
	return s, nil
}

// Pause that is advised where nothing better is known.
const comeAgain = time.Second

// Serve answers a call: by its handler, or by what an earlier one gave. Frameworks
// call it from their interceptors; see grpcidem and connectidem. A handler's own
// answer comes back as it is, but for its message, which may be another one that
// is encoded alike.
func (s *Server) Serve(ctx context.Context, c Call, handler func(context.Context) Answer) Answer {
	key, err := idem.ParseKey(c.Header(s.o.Header), s.o.Header, s.o.MaxKeyLen)
	if err != nil {
		return s.refuse(codes.InvalidArgument, ReasonKeyInvalid, err.Error())
	}
	if key == "" && s.o.Required {
		return s.refuse(codes.InvalidArgument, ReasonKeyMissing, "this procedure takes "+s.o.Header+
			" with a value that is new for each operation and the same for its retries")
	}
	if key == "" {
		s.counts.withoutKey.Add(1)
		return handler(ctx)
	}
	scope := s.o.Scope(ctx, &c)
	if scope == "" {
		return s.refuse(codes.Unauthenticated, ReasonNoCaller, "the call names no caller, and idempotency keys belong to one")
	}
	wire, err := deterministic.Marshal(c.Message)
	if err != nil {
		return s.refuse(codes.Internal, ReasonUnreadable, "the request could not be encoded: "+err.Error())
	}
	u := &call{s: s, handler: handler}
	u.op = idem.Operation{
		Config: &s.config, Context: ctx, Key: keys.Join(scope, key), Name: c.Procedure + " " + key,
		Fingerprint: idem.FingerprintOf(wire, c.Procedure), Answer: appendOutcome,
	}
	if s.o.Settle != nil {
		u.op.Settle = func(in intents.Intent) (intents.Outcome, error) { return s.o.Settle(ctx, &c, in) }
	}
	return u.decide()
}

func (s *Server) refuse(code codes.Code, reason, message string) Answer {
	s.counts.refused.Add(1)
	return refusal(code, reason, message, 0)
}

// A call is one with an idempotency key on its way through the server.
type call struct {
	s       *Server
	op      idem.Operation
	handler func(context.Context) Answer
}

// decide asks the guard and answers the client.
func (u *call) decide() Answer {
	claim, err := u.op.Ask()
	switch {
	case claim.Verdict == dedup.Fresh:
		return u.run(u.op.Run(claim))
	case claim.Verdict == dedup.Duplicate:
		return u.replay(claim, err)
	case err != nil || claim.Verdict != dedup.InFlight:
		return u.storeDown(err)
	}
	u.s.counts.inFlight.Add(1)
	return refusal(codes.Aborted, ReasonInFlight,
		"another call with this idempotency key is being processed; retry later to get its answer", u.op.ComeAgain(claim))
}

// run runs the handler and ends the claim.
func (u *call) run(r *idem.Run) Answer {
	settled, err := r.Begin()
	switch {
	case errors.Is(err, idem.ErrNotCommitted):
		return u.notCommitted(err)
	case errors.Is(err, intents.ErrInDoubt):
		return refusal(codes.FailedPrecondition, ReasonInDoubt,
			"the service stopped while it worked on a call with this idempotency key; until its outcome is settled it is neither run again nor answered", 0)
	case err != nil:
		return u.storeDown(err)
	case settled != nil:
		return u.replay(dedup.Claim{Result: settled}, nil)
	}
	ctx, cancel := r.Start()
	defer cancel(nil)
	done := false
	defer func() {
		if !done {
			r.Abandon()
		}
	}()
	a := u.handler(ctx)
	done = true
	return u.finish(r, a)
}

// finish ends the claim of a handler that has returned.
func (u *call) finish(r *idem.Run, a Answer) Answer {
	if !u.s.o.Storable(a.code()) {
		r.NotFinal()
		return a
	}
	var wire []byte
	var err error
	if a.Status == nil {
		wire, err = deterministic.Marshal(a.Message)
	}
	record := idem.AppendHead(make([]byte, 0, 256+len(wire)), idem.Stored, u.op.Fingerprint)
	if err == nil {
		record, err = appendAnswer(record, &a, wire, u.s.o.Headers)
	}
	if err != nil { // the framework can't send it either
		u.s.o.Logger.Error("an answer can't be encoded", "request", u.op.Name, "error", err)
		r.NotFinal()
		return a
	}
	if len(record) > u.s.o.MaxAnswer {
		record = idem.AppendHead(nil, idem.TooLarge, u.op.Fingerprint)
	}
	if err := r.Commit(record); err != nil {
		return u.notCommitted(err)
	}
	if a.Status == nil {
		a.Message = sameBytes(a.Message, wire)
	}
	return a
}

// replay answers a call whose operation has been done.
func (u *call) replay(claim dedup.Claim, err error) Answer {
	var a Answer
	payload, err := u.op.Read(claim, err)
	if err == nil {
		if a, err = decodeAnswer(payload); err != nil {
			err = u.op.Unread(err)
		}
	}
	switch {
	case err == nil:
		u.s.config.Counts.Replayed.Add(1)
		a.Header["idempotent-replayed"] = []string{"true"}
		return a
	case errors.Is(err, idem.ErrMismatch):
		return refusal(codes.InvalidArgument, ReasonMismatch,
			"this idempotency key belongs to a call with another procedure or message; use a new key for a new operation", 0)
	}
	return refusal(codes.AlreadyExists, ReasonNotStored,
		"the operation with this idempotency key was completed, and its answer can't be given again: "+err.Error(), 0)
}

// notCommitted tells the client that the operation was run and its key is not
// marked.
func (u *call) notCommitted(err error) Answer {
	if errors.Is(err, dedup.ErrLeaseLost) {
		return refusal(codes.Aborted, ReasonLeaseLost,
			"the operation took longer than it may, and another call with this idempotency key took over; retry to get its answer", comeAgain)
	}
	u.s.counts.unavailable.Add(1)
	return refusal(codes.Unavailable, ReasonUnavailable,
		"the operation was run, and its answer could not be stored; retry with the same key", comeAgain)
}

// storeDown answers a call about whose key nothing is known.
func (u *call) storeDown(err error) Answer {
	if u.s.o.Unguarded && u.op.Context.Err() == nil {
		u.s.counts.unguarded.Add(1)
		u.s.o.Logger.Error("a call runs unguarded", "request", u.op.Name, "error", err)
		a := u.handler(u.op.Context)
		if a.Header == nil {
			a.Header = map[string][]string{}
		}
		a.Header["idempotency-unguarded"] = []string{"true"}
		return a
	}
	if u.op.Context.Err() != nil { // the client has gone: that says nothing about the store
		return refusal(codes.Canceled, ReasonUnavailable, "the call was given up before its operation began", 0)
	}
	u.s.counts.unavailable.Add(1)
	u.s.o.Logger.Error("the guard can't be asked", "request", u.op.Name, "error", err)
	return refusal(codes.Unavailable, ReasonUnavailable,
		"whether this operation was done before can't be found out at the moment; it was not run", comeAgain)
}

// NoMessage answers a call whose request or response is not protobuf. Interceptors
// return it instead of calling Serve.
func NoMessage() Answer {
	return refusal(codes.Internal, ReasonUnreadable, "idempotency keys take protobuf messages", 0)
}
