package connectidem

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/firstseen/firstseen/adapters/rpcidem"
)

// Server returns the handler's interceptor. It should stand behind those that
// check who is calling, and before those that the handler needs.
func Server(s *rpcidem.Server) connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			if req.Spec().IsClient || req.HTTPMethod() == http.MethodGet {
				return next(ctx, req)
			}
			msg, ok := req.Any().(proto.Message)
			if !ok {
				return result(rpcidem.NoMessage())
			}
			call := rpcidem.Call{Procedure: req.Spec().Procedure, Header: req.Header().Values, Message: msg}
			return result(s.Serve(ctx, call, func(ctx context.Context) rpcidem.Answer { return run(ctx, req, next) }))
		}
	})
}

// run calls the handler.
func run(ctx context.Context, req connect.AnyRequest, next connect.UnaryFunc) rpcidem.Answer {
	resp, err := next(ctx, req)
	if err != nil {
		return rpcidem.Answer{Status: statusOf(err), Err: err}
	}
	msg, ok := resp.Any().(proto.Message)
	if !ok {
		return rpcidem.NoMessage()
	}
	return rpcidem.Answer{Message: msg, Header: lower(resp.Header()), Trailer: lower(resp.Trailer())}
}

// A response has a message whose type is known at run time only.
type response struct {
	connect.AnyResponse
	msg proto.Message
}

// Any implements connect.AnyResponse.
func (r *response) Any() any { return r.msg }

// result gives an answer to connect. Metadata of errors is part of the error.
func result(a rpcidem.Answer) (connect.AnyResponse, error) {
	if a.Status == nil {
		r := connect.NewResponse(&emptypb.Empty{})
		set(r.Header(), a.Header)
		set(r.Trailer(), a.Trailer)
		return &response{r, a.Message}, nil
	}
	if a.Err != nil {
		return nil, a.Err
	}
	e := connect.NewError(connect.Code(a.Status.GetCode()), errors.New(a.Status.GetMessage()))
	for _, d := range a.Status.GetDetails() {
		if detail, err := connect.NewErrorDetail(d); err == nil { // an Any as it was
			e.AddDetail(detail)
		}
	}
	set(e.Meta(), a.Header)
	set(e.Meta(), a.Trailer)
	return nil, e
}

// statusOf writes an error as a status. One that does not come from connect is
// UNKNOWN, as connect has it.
func statusOf(err error) *spb.Status {
	s := &spb.Status{Code: int32(connect.CodeOf(err)), Message: err.Error()}
	var e *connect.Error
	if !errors.As(err, &e) {
		return s
	}
	s.Message = e.Message()
	for _, d := range e.Details() {
		s.Details = append(s.Details, &anypb.Any{TypeUrl: "type.googleapis.com/" + d.Type(), Value: d.Bytes()})
	}
	return s
}

func lower(h http.Header) map[string][]string {
	m := make(map[string][]string, len(h))
	for name, values := range h {
		m[strings.ToLower(name)] = values
	}
	return m
}

func set(h http.Header, m map[string][]string) {
	for name, values := range m {
		h[http.CanonicalHeaderKey(name)] = values
	}
}
