package connectidem

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/firstseen/firstseen/adapters/rpcidem"
)

// Client returns a client's interceptor: each call gets a key of its own, or the
// one of rpcidem.WithKey or of its header, and is repeated with it. Procedures
// that are marked as free of side effects are sent as they are.
func Client(o rpcidem.Retry) (connect.Interceptor, error) {
	o, err := o.Check()
	if err != nil {
		return nil, err
	}
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (resp connect.AnyResponse, err error) {
			spec := req.Spec()
			if !spec.IsClient || spec.IdempotencyLevel == connect.IdempotencyNoSideEffects || !o.Procedure(spec.Procedure) {
				return next(ctx, req)
			}
			if req.Header().Get(o.Header) == "" {
				req.Header().Set(o.Header, o.Key(ctx))
			}
			err = o.Do(ctx, func(ctx context.Context) (_ codes.Code, advised time.Duration, err error) {
				if resp, err = next(ctx, req); err == nil {
					return codes.OK, 0, nil
				}
				_, advised = rpcidem.Reason(details(err))
				return code(err), advised, err
			})
			if err != nil {
				return nil, err
			}
			return resp, nil
		}
	}), nil
}

// code is what the server said. An error that connect made here is UNAVAILABLE: it
// calls an answer that was cut short INVALID_ARGUMENT, for one.
func code(err error) codes.Code {
	if !connect.IsWireError(err) {
		return codes.Unavailable
	}
	return codes.Code(connect.CodeOf(err))
}

func details(err error) (all []proto.Message) {
	var e *connect.Error
	if !errors.As(err, &e) {
		return nil
	}
	for _, d := range e.Details() {
		if m, err := d.Value(); err == nil {
			all = append(all, m)
		}
	}
	return all
}
