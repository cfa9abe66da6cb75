package rpcidem_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/firstseen/firstseen/adapters/rpcidem"
	"github.com/firstseen/firstseen/adapters/rpcidem/connectidem"
	"github.com/firstseen/firstseen/adapters/rpcidem/grpcidem"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/memguard"
)

const (
	pay    = "/test.Pay/Pay"
	refund = "/test.Pay/Refund"
)

// The frameworks that every test runs with: a server each, and a client that
// speaks the protocol.
var frameworks = []string{"grpc", "connect", "connect speaking grpc"}

// A work is what a handler does: the same in each framework. Its error is nil or
// a status.
type work func(ctx context.Context, in *structpb.Struct, m meta) (*structpb.Struct, *spb.Status)

// meta sets response metadata.
type meta interface {
	header(name, value string)
	trailer(name, value string)
}

// A bed is a server whose handler is behind the interceptor.
type bed struct {
	*testing.T
	framework string
	guard     *memguard.Guard
	server    *rpcidem.Server
	addr      string
	ran       atomic.Int64
}

// each runs f with a bed of each framework.
func each(t *testing.T, o rpcidem.Options, w work, f func(b *bed)) {
	for _, name := range frameworks {
		t.Run(name, func(t *testing.T) {
			b := &bed{T: t, framework: name, guard: &memguard.Guard{}}
			b.serve(b.guard, o, w)
			f(b)
		})
	}
}

func (b *bed) serve(g dedup.Guard, o rpcidem.Options, w work) {
	b.Helper()
	s, err := rpcidem.New(g, o)
	if err != nil {
		b.Fatal(err)
	}
	b.server = s
	count := func(ctx context.Context, in *structpb.Struct, m meta) (*structpb.Struct, *spb.Status) {
		n := b.ran.Add(1)
		if w != nil {
			return w(ctx, in, m)
		}
		m.header("location", fmt.Sprintf("/orders/%d", n))
		m.header("session", "secret")
		m.trailer("cost", "7")
		return order(n), nil
	}
	if b.framework == "grpc" {
		b.addr = serveGRPC(b.T, grpcidem.Server(s), count)
	} else {
		b.addr = serveConnect(b.T, connectidem.Server(s), count)
	}
}

// order has a map of many entries, whose encoding differs from call to call.
func order(n int64) *structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{"order": structpb.NewNumberValue(float64(n))}}
	for i := range 20 {
		s.Fields[fmt.Sprint("line ", i)] = structpb.NewStringValue("goods")
	}
	return s
}

type grpcMeta struct{ ctx context.Context }

func (m grpcMeta) header(name, value string) { _ = grpc.SendHeader(m.ctx, metadata.Pairs(name, value)) }

func (m grpcMeta) trailer(name, value string) {
	_ = grpc.SetTrailer(m.ctx, metadata.Pairs(name, value))
}

func serveGRPC(t *testing.T, i grpc.UnaryServerInterceptor, w work) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newGRPC(i, w)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

func newGRPC(i grpc.UnaryServerInterceptor, w work) *grpc.Server {
	recovering := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = status.Errorf(codes.Internal, "panic: %v", p)
			}
		}()
		return next(ctx, req)
	}
	s := grpc.NewServer(grpc.ChainUnaryInterceptor(recovering, i))
	desc := &grpc.ServiceDesc{ServiceName: "test.Pay", HandlerType: (*any)(nil)}
	for _, method := range []string{"Pay", "Refund"} {
		desc.Methods = append(desc.Methods, grpc.MethodDesc{
			MethodName: method,
			Handler: func(_ any, ctx context.Context, decode func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
				in := &structpb.Struct{}
				if err := decode(in); err != nil {
					return nil, err
				}
				return i(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/test.Pay/" + method}, func(ctx context.Context, req any) (any, error) {
					out, s := w(ctx, req.(*structpb.Struct), grpcMeta{ctx})
					if s != nil {
						return nil, status.ErrorProto(s)
					}
					return out, nil
				})
			},
		})
	}
	s.RegisterService(desc, struct{}{})
	return s
}

type connectMeta struct{ h, t http.Header }

func (m connectMeta) header(name, value string) { m.h.Set(name, value) }

func (m connectMeta) trailer(name, value string) { m.t.Set(name, value) }

func serveConnect(t *testing.T, i connect.Interceptor, w work) (addr string) {
	t.Helper()
	s := httptest.NewUnstartedServer(newConnect(i, w))
	s.Config.Protocols = protocols()
	s.Start()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func newConnect(i connect.Interceptor, w work) http.Handler {
	mux := http.NewServeMux()
	for _, procedure := range []string{pay, refund} {
		mux.Handle(procedure, connect.NewUnaryHandler(procedure,
			func(ctx context.Context, req *connect.Request[structpb.Struct]) (*connect.Response[structpb.Struct], error) {
				m := connectMeta{http.Header{}, http.Header{}}
				out, s := w(ctx, req.Msg, m)
				if s != nil {
					return nil, connectError(s)
				}
				resp := connect.NewResponse(out)
				for name := range m.h {
					resp.Header().Set(name, m.h.Get(name))
				}
				for name := range m.t {
					resp.Trailer().Set(name, m.t.Get(name))
				}
				return resp, nil
			},
			connect.WithRecover(func(_ context.Context, _ connect.Spec, _ http.Header, p any) error {
				return connect.NewError(connect.CodeInternal, fmt.Errorf("panic: %v", p))
			}), connect.WithInterceptors(i)))
	}
	return mux
}

// protocols are HTTP/1 and HTTP/2 without TLS, which gRPC takes.
func protocols() *http.Protocols {
	p := &http.Protocols{}
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

func connectError(s *spb.Status) error {
	e := connect.NewError(connect.Code(s.GetCode()), errors.New(s.GetMessage()))
	for _, d := range s.GetDetails() {
		detail, err := connect.NewErrorDetail(d)
		if err != nil {
			panic(err)
		}
		e.AddDetail(detail)
	}
	return e
}

// An outcome is what a client has got. wire is the message as it was sent.
type outcome struct {
	wire     string
	code     codes.Code
	message  string
	details  []proto.Message
	header   map[string][]string // with trailers
	err      error
	reason   string
	comeBack time.Duration
}

func (o *outcome) get(name string) string { return strings.Join(o.header[name], ",") }

// wire is a message that stays as it came.
type wire struct{ bytes []byte }

// rawCodec writes protobuf and reads nothing.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) { return proto.Marshal(v.(proto.Message)) }

func (rawCodec) Unmarshal(data []byte, v any) error {
	if m, ok := v.(proto.Message); ok { // the status in a trailer
		return proto.Unmarshal(data, m)
	}
	v.(*wire).bytes = append([]byte(nil), data...)
	return nil
}

// call calls Pay with metadata: name, value, name, value. Alice calls.
func (b *bed) call(ctx context.Context, body string, md ...string) outcome {
	return b.send(ctx, pay, body, append([]string{"authorization", "Bearer alice"}, md...)...)
}

func (b *bed) send(ctx context.Context, procedure, body string, md ...string) outcome {
	b.Helper()
	in := &structpb.Struct{Fields: map[string]*structpb.Value{"body": structpb.NewStringValue(body), "n": structpb.NewNumberValue(1)}}
	var o outcome
	if b.framework == "grpc" {
		o = b.sendGRPC(ctx, procedure, in, md)
	} else {
		o = b.sendConnect(ctx, procedure, in, md)
	}
	o.reason, o.comeBack = rpcidem.Reason(o.details)
	return o
}

func (b *bed) sendGRPC(ctx context.Context, procedure string, in proto.Message, md []string) (o outcome) {
	b.Helper()
	conn, err := grpc.NewClient(b.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	var header, trailer metadata.MD
	var out wire
	o.err = conn.Invoke(metadata.AppendToOutgoingContext(ctx, md...), procedure, in, &out,
		grpc.Header(&header), grpc.Trailer(&trailer), grpc.ForceCodec(rawCodec{}))
	s := status.Convert(o.err)
	o.wire, o.code, o.message, o.header = string(out.bytes), s.Code(), s.Message(), metadata.Join(header, trailer)
	for _, d := range s.Details() {
		o.details = append(o.details, d.(proto.Message))
	}
	return o
}

func (b *bed) sendConnect(ctx context.Context, procedure string, in *structpb.Struct, md []string) (o outcome) {
	b.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	options := []connect.ClientOption{connect.WithCodec(rawCodec{})}
	if b.framework != "connect" {
		transport.Protocols = &http.Protocols{}
		transport.Protocols.SetUnencryptedHTTP2(true)
		options = append(options, connect.WithGRPC())
	}
	client := connect.NewClient[structpb.Struct, wire](&http.Client{Transport: transport}, "http://"+b.addr+procedure, options...)
	req := connect.NewRequest(in)
	for i := 0; i < len(md); i += 2 {
		req.Header().Add(md[i], md[i+1])
	}
	resp, err := client.CallUnary(ctx, req)
	o.err, o.header = err, map[string][]string{}
	keep := func(h http.Header) {
		for name, values := range h {
			o.header[strings.ToLower(name)] = values
		}
	}
	if err == nil {
		o.wire = string(resp.Msg.bytes)
		keep(resp.Header())
		keep(resp.Trailer())
		return o
	}
	o.code, o.message = codes.Code(connect.CodeOf(err)), err.Error()
	var e *connect.Error
	if errors.As(err, &e) {
		o.message = e.Message()
		keep(e.Meta())
		for _, d := range e.Details() {
			m, err := d.Value()
			if err != nil {
				b.Fatal(err)
			}
			o.details = append(o.details, m)
		}
	}
	return o
}

func (b *bed) wantRuns(want int64) {
	b.Helper()
	if got := b.ran.Load(); got != want {
		b.Errorf("the handler ran %d times, want %d", got, want)
	}
}

func (b *bed) wantRefusal(o outcome, code codes.Code, reason string) {
	b.Helper()
	if o.code != code || o.reason != reason {
		b.Errorf("%v %q (%v), want %v %q", o.code, o.reason, o.err, code, reason)
	}
}

func (b *bed) wantReplay(first, again outcome) {
	b.Helper()
	if again.wire != first.wire || again.code != first.code || again.message != first.message || again.get("idempotent-replayed") != "true" {
		b.Errorf("replay: %v %q %x %v\nfirst: %v %q %x", again.code, again.message, again.wire, again.header, first.code, first.message, first.wire)
	}
	if len(again.details) != len(first.details) {
		b.Fatalf("replay with %d details, want %d", len(again.details), len(first.details))
	}
	for i := range first.details {
		if !proto.Equal(again.details[i], first.details[i]) {
			b.Errorf("detail %v, want %v", again.details[i], first.details[i])
		}
	}
	if first.get("idempotent-replayed") != "" {
		b.Error("the first answer says that it is a replay")
	}
}
