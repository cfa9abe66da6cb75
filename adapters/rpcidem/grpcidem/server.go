package grpcidem

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firstseen/firstseen/adapters/rpcidem"
)

// Server returns the server's interceptor. It should stand behind those that
// check who is calling, and before those that the handler needs.
func Server(s *rpcidem.Server) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		msg, ok := req.(proto.Message)
		if !ok {
			return result(ctx, rpcidem.NoMessage())
		}
		md, _ := metadata.FromIncomingContext(ctx)
		call := rpcidem.Call{Procedure: info.FullMethod, Header: md.Get, Certificate: certificate(ctx), Message: msg}
		return result(ctx, s.Serve(ctx, call, func(ctx context.Context) rpcidem.Answer { return run(ctx, req, handler) }))
	}
}

// run calls the handler and keeps its metadata back.
func run(ctx context.Context, req any, handler grpc.UnaryHandler) rpcidem.Answer {
	rec := &recorder{ServerTransportStream: grpc.ServerTransportStreamFromContext(ctx)}
	resp, err := handler(grpc.NewContextWithServerTransportStream(ctx, rec), req)
	var a rpcidem.Answer
	if err != nil {
		a = rpcidem.Answer{Status: status.Convert(err).Proto(), Err: err}
	} else if msg, ok := resp.(proto.Message); ok {
		a = rpcidem.Answer{Message: msg}
	} else {
		a = rpcidem.NoMessage()
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	a.Header, a.Trailer = rec.mu.header, rec.mu.trailer
	return a
}

// result gives an answer to gRPC.
func result(ctx context.Context, a rpcidem.Answer) (any, error) {
	// The metadata comes too late only where another interceptor has sent it.
	_ = grpc.SetHeader(ctx, a.Header)
	_ = grpc.SetTrailer(ctx, a.Trailer)
	switch {
	case a.Err != nil:
		return nil, a.Err
	case a.Status != nil:
		return nil, status.ErrorProto(a.Status)
	}
	return a.Message, nil
}

func certificate(ctx context.Context) []byte {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return nil
	}
	return info.State.PeerCertificates[0].Raw
}
