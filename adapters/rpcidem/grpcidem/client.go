package grpcidem

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firstseen/firstseen/adapters/rpcidem"
)

// Client returns a client's interceptor: each call gets a key of its own, or the
// one of rpcidem.WithKey or of the outgoing metadata, and is repeated with it. It
// should stand before interceptors that are to see each attempt.
func Client(o rpcidem.Retry) (grpc.UnaryClientInterceptor, error) {
	o, err := o.Check()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if !o.Procedure(method) {
			return invoke(ctx, method, req, reply, cc, opts...)
		}
		if md, ok := metadata.FromOutgoingContext(ctx); !ok || len(md.Get(o.Header)) == 0 {
			ctx = metadata.AppendToOutgoingContext(ctx, o.Header, o.Key(ctx))
		}
		return o.Do(ctx, func(ctx context.Context) (codes.Code, time.Duration, error) {
			err := invoke(ctx, method, req, reply, cc, opts...)
			s := status.Convert(err)
			_, advised := rpcidem.Reason(details(s))
			return s.Code(), advised, err
		})
	}, nil
}

func details(s *status.Status) (all []proto.Message) {
	for _, d := range s.Details() {
		if m, ok := d.(proto.Message); ok {
			all = append(all, m)
		}
	}
	return all
}
