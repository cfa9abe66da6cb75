package rpcidem_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/adapters/rpcidem"
	"github.com/firstseen/firstseen/adapters/rpcidem/connectidem"
	"github.com/firstseen/firstseen/adapters/rpcidem/grpcidem"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/killtest"
)

// The fronts are the two servers; connect's speaks its own protocol here.
var fronts = []killtest.Front{front("grpc"), front("connect")}

func TestMain(m *testing.M) { os.Exit(killtest.Main(m, fronts...)) }

// TestKilled: see package killtest.
func TestKilled(t *testing.T) {
	for _, f := range fronts {
		killtest.Run(t, f)
	}
}

func front(framework string) killtest.Front {
	return killtest.Front{
		Name: framework,
		Serve: func(l net.Listener, guard dedup.Guard, store intents.Store, handler func(key string) (answer string)) error {
			s, err := rpcidem.New(guard, rpcidem.Options{Wait: 5 * time.Second, Intents: store})
			if err != nil {
				return err
			}
			w := func(_ context.Context, in *structpb.Struct, _ meta) (*structpb.Struct, *spb.Status) {
				answer := handler(in.GetFields()["body"].GetStringValue())
				return &structpb.Struct{Fields: map[string]*structpb.Value{"answer": structpb.NewStringValue(answer)}}, nil
			}
			if framework == "grpc" {
				return newGRPC(grpcidem.Server(s), w).Serve(l)
			}
			server := http.Server{Handler: newConnect(connectidem.Server(s), w), Protocols: protocols()}
			return server.Serve(l)
		},
		Ask: func(ctx context.Context, t *testing.T, addr, k string) (answer string, err error) {
			o := (&bed{T: t, framework: framework, addr: addr}).call(ctx, k, key, k)
			switch {
			case o.reason == rpcidem.ReasonInDoubt:
				return "", killtest.ErrInDoubt
			case o.code == codes.Unavailable && o.reason == "": // the connection ended, or there is none
				return "", killtest.ErrNoAnswer
			}
			return o.wire, o.err
		},
	}
}
