package rpcidem_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/firstseen/firstseen/adapters/rpcidem"
	"github.com/firstseen/firstseen/adapters/rpcidem/connectidem"
	"github.com/firstseen/firstseen/adapters/rpcidem/grpcidem"
	"github.com/firstseen/firstseen/internal/servertest"
)

// quick retries without long pauses.
var quick = rpcidem.Retry{FirstPause: time.Millisecond, MaxPause: 10 * time.Millisecond}

// client returns a client with the interceptor, which has one connection to addr.
func (b *bed) client(addr string, o rpcidem.Retry) func(ctx context.Context, body string) (string, codes.Code) {
	b.Helper()
	in := func(body string) *structpb.Struct {
		return &structpb.Struct{Fields: map[string]*structpb.Value{"body": structpb.NewStringValue(body)}}
	}
	if b.framework == "grpc" {
		i, err := grpcidem.Client(o)
		if err != nil {
			b.Fatal(err)
		}
		soon := grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1, MaxDelay: time.Millisecond}, MinConnectTimeout: time.Second}
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithChainUnaryInterceptor(i), grpc.WithConnectParams(soon))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		return func(ctx context.Context, body string) (string, codes.Code) {
			var out wire
			err := conn.Invoke(ctx, pay, in(body), &out, grpc.ForceCodec(rawCodec{}))
			return string(out.bytes), status.Code(err)
		}
	}
	i, err := connectidem.Client(o)
	if err != nil {
		b.Fatal(err)
	}
	transport, options := &http.Transport{}, []connect.ClientOption{connect.WithCodec(rawCodec{}), connect.WithInterceptors(i)}
	if b.framework != "connect" {
		transport.Protocols = &http.Protocols{}
		transport.Protocols.SetUnencryptedHTTP2(true)
		options = append(options, connect.WithGRPC())
	}
	b.Cleanup(transport.CloseIdleConnections)
	c := connect.NewClient[structpb.Struct, wire](&http.Client{Transport: transport}, "http://"+addr+pay, options...)
	return func(ctx context.Context, body string) (string, codes.Code) {
		resp, err := c.CallUnary(ctx, connect.NewRequest(in(body)))
		if err != nil {
			return "", codes.Code(connect.CodeOf(err))
		}
		return string(resp.Msg.bytes), codes.OK
	}
}

// TestClientRetries: a call is repeated with its key until the answer is final;
// two calls have two keys, unless the caller gives them one.
func TestClientRetries(t *testing.T) {
	var tries atomic.Int64
	weak := func(context.Context, *structpb.Struct, meta) (*structpb.Struct, *spb.Status) {
		if tries.Add(1)%3 != 0 {
			return nil, &spb.Status{Code: int32(codes.Unavailable)}
		}
		return order(1), nil
	}
	each(t, rpcidem.Options{Required: true, Scope: rpcidem.Everybody}, weak, func(b *bed) {
		tries.Store(0)
		pay := b.client(b.addr, quick)
		first, code := pay(b.Context(), "x")
		if code != codes.OK {
			b.Fatal(code)
		}
		b.wantRuns(3)
		if _, code = pay(b.Context(), "x"); code != codes.OK {
			b.Error(code)
		}
		b.wantRuns(6)
		mine := rpcidem.WithKey(b.Context(), "mine")
		for range 2 {
			if again, code := pay(mine, "x"); code != codes.OK || len(again) != len(first) {
				b.Error(code)
			}
		}
		b.wantRuns(9)
		if _, code = pay(mine, "y"); code != codes.InvalidArgument { // another message: no retry helps
			b.Error(code)
		}
		b.wantRuns(9)
		none := quick
		none.Attempts = 2
		if _, code = b.client(b.addr, none)(b.Context(), "x"); code != codes.Unavailable {
			b.Error(code)
		}
		b.wantRuns(11)
		others := quick
		others.Procedure = func(p string) bool { return p == refund }
		if _, code = b.client(b.addr, others)(b.Context(), "x"); code != codes.InvalidArgument { // no key was sent
			b.Error(code)
		}
		b.wantRuns(11)
	})
}

// TestClientAttemptTimeout: an attempt that hangs is given up, and the next one
// gets the answer that came too late.
func TestClientAttemptTimeout(t *testing.T) {
	slow := func(ctx context.Context, _ *structpb.Struct, _ meta) (*structpb.Struct, *spb.Status) {
		<-ctx.Done()
		return order(1), nil
	}
	each(t, rpcidem.Options{Scope: rpcidem.Everybody}, slow, func(b *bed) {
		o := quick
		o.AttemptTimeout, o.Attempts = 200*time.Millisecond, 50
		if answer, code := b.client(b.addr, o)(b.Context(), "x"); code != codes.OK || answer == "" {
			b.Error(code)
		}
		b.wantRuns(1)
	})
}

// TestCutConnections: 100 clients whose connections are cut all the time repeat
// their calls until each has its answer. Each operation has run once, and each
// client and its second asking have the same bytes.
func TestCutConnections(t *testing.T) {
	var mu sync.Mutex
	effects := map[string]int{}
	effect := func(_ context.Context, in *structpb.Struct, _ meta) (*structpb.Struct, *spb.Status) {
		mu.Lock()
		defer mu.Unlock()
		effects[in.GetFields()["body"].GetStringValue()]++
		return order(int64(len(effects))), nil
	}
	each(t, rpcidem.Options{Scope: rpcidem.Everybody, Wait: time.Second}, effect, func(b *bed) {
		clear(effects)
		proxy := servertest.NewProxy(b, b.addr)
		stop, cuts := make(chan struct{}), sync.WaitGroup{}
		cuts.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
					proxy.Cut(0.2)
				}
			}
		})
		o := quick
		o.Attempts, o.AttemptTimeout = 1000, 5*time.Second
		var wg sync.WaitGroup
		answers := make([]string, 100)
		for n := range answers {
			wg.Go(func() {
				pay := b.client(proxy.Addr(), o)
				name := fmt.Sprint("order ", n)
				ctx := rpcidem.WithKey(b.Context(), fmt.Sprint("k-", n))
				for range 3 {
					answer, code := pay(ctx, name)
					if code != codes.OK || answers[n] != "" && answer != answers[n] {
						b.Errorf("%s: %v, %d bytes", name, code, len(answer))
					}
					answers[n] = answer
				}
			})
		}
		wg.Wait()
		close(stop)
		cuts.Wait()
		seen := map[string]bool{}
		for n, answer := range answers {
			if times := effects[fmt.Sprint("order ", n)]; times != 1 {
				b.Errorf("order %d has %d effects", n, times)
			}
			var m structpb.Struct
			if err := proto.Unmarshal([]byte(answer), &m); err != nil || seen[m.GetFields()["order"].String()] {
				b.Errorf("order %d: the answer is another one's, %v", n, err)
			}
			seen[m.GetFields()["order"].String()] = true
		}
	})
}
