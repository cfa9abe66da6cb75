package rpcidem_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/adapters/rpcidem"
	"github.com/firstseen/firstseen/dedup/keys"
)

const key = rpcidem.DefaultHeader

// TestReplay: a retry gets the message byte for byte, though protobuf encodes its
// map in another order each time, and the metadata that is to be stored. Both
// forms of a key are one key.
func TestReplay(t *testing.T) {
	each(t, rpcidem.Options{Headers: []string{"location", "cost"}}, nil, func(b *bed) {
		first := b.call(b.Context(), "x", key, "k-1")
		if first.err != nil || first.get("session") != "secret" {
			b.Fatalf("%+v", first)
		}
		for range 10 {
			again := b.call(b.Context(), "x", key, `"k-1"`)
			b.wantReplay(first, again)
			if again.get("location") != "/orders/1" || again.get("cost") != "7" || again.get("session") != "" {
				b.Errorf("stored metadata: %v", again.header)
			}
		}
		b.wantRuns(1)
		var m structpb.Struct
		if err := proto.Unmarshal([]byte(first.wire), &m); err != nil || !proto.Equal(&m, order(1)) {
			b.Errorf("the message is %v, %v", &m, err)
		}
		if s := b.server.Stats(); s.Run != 1 || s.Replayed != 10 {
			b.Errorf("%+v", s)
		}
	})
}

// TestErrors: a final error is replayed with its message and details; after one
// that asks for another try the handler runs again.
func TestErrors(t *testing.T) {
	detail, err := anypb.New(&errdetails.ResourceInfo{ResourceName: "account 7"})
	if err != nil {
		t.Fatal(err)
	}
	for code := codes.OK + 1; code <= codes.Unauthenticated; code++ {
		fail := func(context.Context, *structpb.Struct, meta) (*structpb.Struct, *spb.Status) {
			return nil, &spb.Status{Code: int32(code), Message: "no", Details: []*anypb.Any{detail}}
		}
		each(t, rpcidem.Options{}, fail, func(b *bed) {
			first, again := b.call(b.Context(), "x", key, "k"), b.call(b.Context(), "x", key, "k")
			if first.code != code || first.message != "no" || len(first.details) != 1 {
				b.Errorf("%v: %+v", code, first)
			}
			if rpcidem.Storable(code) {
				b.wantReplay(first, again)
				b.wantRuns(1)
				return
			}
			if again.code != code || again.get("idempotent-replayed") != "" {
				b.Errorf("%v: %+v", code, again)
			}
			b.wantRuns(2)
		})
	}
}

// TestRefusals: what is not a key of a caller's own never runs, and a key belongs
// to one procedure and message.
func TestRefusals(t *testing.T) {
	each(t, rpcidem.Options{Required: true}, nil, func(b *bed) {
		ctx := b.Context()
		b.wantRefusal(b.call(ctx, "x"), codes.InvalidArgument, rpcidem.ReasonKeyMissing)
		for _, bad := range []string{`""`, `"open`, "a b", "a,b", strings.Repeat("k", 256)} {
			b.wantRefusal(b.call(ctx, "x", key, bad), codes.InvalidArgument, rpcidem.ReasonKeyInvalid)
		}
		b.wantRefusal(b.call(ctx, "x", key, "a", key, "b"), codes.InvalidArgument, rpcidem.ReasonKeyInvalid)
		b.wantRefusal(b.send(ctx, pay, "x", key, "k"), codes.Unauthenticated, rpcidem.ReasonNoCaller)
		b.wantRuns(0)
		b.call(ctx, "x", key, "k")
		b.wantRefusal(b.call(ctx, "y", key, "k"), codes.InvalidArgument, rpcidem.ReasonMismatch)
		b.wantRefusal(b.send(ctx, refund, "x", key, "k", "authorization", "Bearer alice"), codes.InvalidArgument, rpcidem.ReasonMismatch)
		b.wantRuns(1)
		if o := b.send(ctx, pay, "x", key, "k", "authorization", "Bearer bob"); o.err != nil || o.get("idempotent-replayed") != "" {
			b.Errorf("another caller's key: %+v", o)
		}
		b.wantRuns(2)
	})
	each(t, rpcidem.Options{Scope: rpcidem.ByHeader("tenant")}, nil, func(b *bed) {
		b.call(b.Context(), "x")
		b.call(b.Context(), "x")
		b.wantRuns(2)
		b.wantRefusal(b.call(b.Context(), "x", key, "k"), codes.Unauthenticated, rpcidem.ReasonNoCaller)
		b.call(b.Context(), "x", key, "k", "tenant", "t1")
		b.call(b.Context(), "x", key, "k", "tenant", "t2")
		b.wantRuns(4)
	})
}

// TestInFlight: a twin of a running call is told when to come again, or waits for
// its answer.
func TestInFlight(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Minute} {
		started, finish := make(chan struct{}, 1), make(chan struct{})
		slow := func(context.Context, *structpb.Struct, meta) (*structpb.Struct, *spb.Status) {
			started <- struct{}{}
			<-finish
			return order(1), nil
		}
		each(t, rpcidem.Options{Wait: wait}, slow, func(b *bed) {
			answers := make(chan outcome, 2)
			ask := func() { answers <- b.call(b.Context(), "x", key, "k") }
			go ask()
			<-started
			if wait == 0 {
				twin := b.call(b.Context(), "x", key, "k")
				b.wantRefusal(twin, codes.Aborted, rpcidem.ReasonInFlight)
				if twin.comeBack != time.Second {
					b.Errorf("come back in %v, want 1 s: the lease of 30 s says nothing about the handler", twin.comeBack)
				}
			} else {
				go ask()
				for b.guard.Calls("Claim") < 3 { // it has looked twice
					<-time.After(time.Millisecond)
				}
			}
			finish <- struct{}{}
			first := <-answers
			if wait == 0 {
				b.wantReplay(first, b.call(b.Context(), "x", key, "k"))
			} else if second := <-answers; second.wire != first.wire || first.wire == "" {
				b.Errorf("%+v\n%+v", first, second)
			}
			b.wantRuns(1)
		})
	}
}

// TestInDoubt: with intents a call whose handler never came back is neither run
// again nor answered until somebody says what happened.
func TestInDoubt(t *testing.T) {
	dies := func(_ context.Context, in *structpb.Struct, _ meta) (*structpb.Struct, *spb.Status) {
		if in.GetFields()["body"].GetStringValue() == "die" {
			panic("died")
		}
		return order(1), nil
	}
	each(t, rpcidem.Options{}, dies, func(b *bed) {
		store, err := intents.Open(filepath.Join(b.TempDir(), "intents"))
		if err != nil {
			b.Fatal(err)
		}
		defer store.Close()
		b.serve(b.guard, rpcidem.Options{Intents: store, Scope: rpcidem.Everybody}, dies)
		ctx := b.Context()
		for _, k := range []string{"paid", "paid, answer lost", "paid, another status"} {
			if o := b.call(ctx, "die", key, `"`+k+`"`); o.code != codes.Internal {
				b.Fatalf("the panic gave %+v", o)
			}
			b.wantRefusal(b.call(ctx, "die", key, `"`+k+`"`), codes.FailedPrecondition, rpcidem.ReasonInDoubt)
		}
		b.wantRuns(3)
		if all, err := store.List(ctx); err != nil || len(all) != 3 || all[0].Name != pay+" paid" {
			b.Fatalf("in doubt: %+v, %v", all, err)
		}
		resolve := func(k string, o intents.Outcome) {
			if err := store.Resolve(ctx, keys.Join("everybody", k), o); err != nil {
				b.Fatal(err)
			}
		}
		known, err := proto.MarshalOptions{Deterministic: true}.Marshal(order(9))
		if err != nil {
			b.Fatal(err)
		}
		resolve("paid", intents.Outcome{Kind: intents.Happened, Status: 200, ContentType: "google.protobuf.Struct", Body: known})
		resolve("paid, answer lost", intents.Outcome{Kind: intents.Happened})
		resolve("paid, another status", intents.Outcome{Kind: intents.Happened, Status: 404, Body: []byte("?")})
		for range 2 {
			if o := b.call(ctx, "die", key, "paid"); o.wire != string(known) {
				b.Errorf("%+v", o)
			}
			b.wantRefusal(b.call(ctx, "die", key, `"paid, answer lost"`), codes.AlreadyExists, rpcidem.ReasonNotStored)
			b.wantRefusal(b.call(ctx, "die", key, `"paid, another status"`), codes.AlreadyExists, rpcidem.ReasonNotStored)
		}
		b.wantRuns(3)
		if _, err := store.Begin(ctx, intents.Intent{Key: keys.Join("everybody", "never"), Begun: time.Now()}); err != nil {
			b.Fatal(err)
		}
		resolve("never", intents.Outcome{Kind: intents.NeverHappened})
		b.wantReplay(b.call(ctx, "x", key, "never"), b.call(ctx, "x", key, "never"))
		b.wantRuns(4)
		if all, err := store.List(ctx); err != nil || len(all) != 0 {
			b.Errorf("left over: %+v, %v", all, err)
		}
	})
}

// TestSettle: the application's own hook settles an intent, and is asked again
// where it can't.
func TestSettle(t *testing.T) {
	each(t, rpcidem.Options{}, nil, func(b *bed) {
		store, err := intents.Open(filepath.Join(b.TempDir(), "intents"))
		if err != nil {
			b.Fatal(err)
		}
		defer store.Close()
		asked := 0
		b.serve(b.guard, rpcidem.Options{
			Intents: store, Scope: rpcidem.Everybody,
			Settle: func(_ context.Context, c *rpcidem.Call, in intents.Intent) (intents.Outcome, error) {
				if asked++; asked == 1 {
					return intents.Outcome{}, errors.New("the bank does not answer")
				}
				if c.Procedure != pay || in.Name != "mine" {
					return intents.Outcome{}, fmt.Errorf("asked for %s, %s", c.Procedure, in.Name)
				}
				return intents.Outcome{Kind: intents.NeverHappened}, nil
			},
		}, nil)
		if _, err := store.Begin(b.Context(), intents.Intent{Key: keys.Join("everybody", "k"), Name: "mine", Begun: time.Now()}); err != nil {
			b.Fatal(err)
		}
		b.wantRefusal(b.call(b.Context(), "x", key, "k"), codes.FailedPrecondition, rpcidem.ReasonInDoubt)
		b.wantReplay(b.call(b.Context(), "x", key, "k"), b.call(b.Context(), "x", key, "k"))
		b.wantRuns(1)
	})
}

// TestTooLarge: an answer that is too large to be kept is passed on, and its
// retries are told so and do not run.
func TestTooLarge(t *testing.T) {
	each(t, rpcidem.Options{MaxAnswer: 50}, nil, func(b *bed) {
		if o := b.call(b.Context(), "x", key, "k"); o.err != nil || len(o.wire) < 50 {
			b.Errorf("%+v", o)
		}
		b.wantRefusal(b.call(b.Context(), "x", key, "k"), codes.AlreadyExists, rpcidem.ReasonNotStored)
		b.wantRuns(1)
	})
	each(t, rpcidem.Options{}, nil, func(b *bed) {
		b.guard.MaxResult = 50
		if o := b.call(b.Context(), "x", key, "k"); o.err != nil || len(o.wire) < 50 {
			b.Errorf("%+v", o)
		}
		b.wantRefusal(b.call(b.Context(), "x", key, "k"), codes.AlreadyExists, rpcidem.ReasonNotStored)
		b.wantRuns(1)
	})
}

// TestStoreDown: nothing runs while the guard can't be asked, or it runs with a
// marker by choice; an answer that can't be stored is not seen.
func TestStoreDown(t *testing.T) {
	down := func(which string) func(context.Context, string) error {
		return func(_ context.Context, call string) error {
			if call == which {
				return errors.New("connection refused")
			}
			return nil
		}
	}
	each(t, rpcidem.Options{}, nil, func(b *bed) {
		b.guard.Before = down("Claim")
		o := b.call(b.Context(), "x", key, "k")
		b.wantRefusal(o, codes.Unavailable, rpcidem.ReasonUnavailable)
		if o.comeBack <= 0 {
			b.Error("no pause is advised")
		}
		b.wantRuns(0)
	})
	each(t, rpcidem.Options{}, nil, func(b *bed) {
		b.guard.Before = down("Commit")
		o := b.call(b.Context(), "x", key, "k")
		b.wantRefusal(o, codes.Unavailable, rpcidem.ReasonUnavailable)
		if o.get("location") != "" || o.wire != "" {
			b.Errorf("the answer leaked: %+v", o)
		}
	})
	each(t, rpcidem.Options{Unguarded: true}, nil, func(b *bed) {
		b.guard.Before = down("Claim")
		if o := b.call(b.Context(), "x", key, "k"); o.err != nil || o.get("idempotency-unguarded") != "true" {
			b.Errorf("%+v", o)
		}
		b.wantRuns(1)
	})
}

// TestLeaseLost: a handler whose key was taken over is canceled, and its answer is
// not given.
func TestLeaseLost(t *testing.T) {
	var now *bed
	late := func(ctx context.Context, _ *structpb.Struct, _ meta) (*structpb.Struct, *spb.Status) {
		now.guard.Steal(keys.Join("everybody", "k"))
		<-ctx.Done()
		return order(1), nil
	}
	each(t, rpcidem.Options{Scope: rpcidem.Everybody}, late, func(b *bed) {
		now, b.guard.Lease = b, 100*time.Millisecond
		b.wantRefusal(b.call(b.Context(), "x", key, "k"), codes.Aborted, rpcidem.ReasonLeaseLost)
		if s := b.server.Stats(); s.LeaseLost != 1 {
			b.Errorf("%+v", s)
		}
	})
}

// TestClientGone: the answer of a call whose client hung up is stored.
func TestClientGone(t *testing.T) {
	var hangUp context.CancelFunc
	slow := func(ctx context.Context, _ *structpb.Struct, _ meta) (*structpb.Struct, *spb.Status) {
		hangUp()
		<-ctx.Done()
		return order(1), nil
	}
	each(t, rpcidem.Options{Wait: time.Minute}, slow, func(b *bed) {
		var ctx context.Context
		ctx, hangUp = context.WithCancel(b.Context())
		if o := b.call(ctx, "x", key, "k"); o.code != codes.Canceled {
			b.Errorf("the client did not hang up: %+v", o)
		}
		if o := b.call(b.Context(), "x", key, "k"); o.err != nil || o.get("idempotent-replayed") != "true" {
			b.Errorf("%+v", o)
		}
		b.wantRuns(1)
	})
}

func TestBadOptions(t *testing.T) {
	_, err := rpcidem.New(nil, rpcidem.Options{
		MaxKeyLen: -1, MaxAnswer: -1, Wait: -1, CallLimit: -1,
		Settle: func(context.Context, *rpcidem.Call, intents.Intent) (intents.Outcome, error) {
			return intents.Outcome{}, nil
		},
	})
	for _, part := range []string{"MaxKeyLen", "MaxAnswer", "Wait", "CallLimit", "Settle"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v doesn't name %s", err, part)
		}
	}
	_, err = rpcidem.Retry{Attempts: -1, AttemptTimeout: -1, FirstPause: time.Second, MaxPause: time.Millisecond}.Check()
	for _, part := range []string{"Attempts", "AttemptTimeout", "MaxPause"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v doesn't name %s", err, part)
		}
	}
}
