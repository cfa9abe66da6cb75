package consume_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/memguard"
)

var ctx = context.Background()

func newConsumer(t testing.TB, g dedup.Guard, o consume.Options) *consume.Consumer {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := consume.New(g, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func message(key string) consume.Message { return consume.Message{Key: []byte(key), Topic: "orders"} }

func messages(keys ...string) []consume.Message {
	var ms []consume.Message
	for _, key := range keys {
		ms = append(ms, message(key))
	}
	return ms
}

// A log notes the keys that were handled; fails says which handlers fail.
type handled struct {
	keys  []string
	fails map[string]error
}

func (l *handled) handle(_ context.Context, m consume.Message) error {
	l.keys = append(l.keys, string(m.Key))
	return l.fails[string(m.Key)]
}

func (l *handled) want(t testing.TB, keys ...string) {
	t.Helper()
	if !slices.Equal(l.keys, keys) {
		t.Errorf("handled %q, want %q", l.keys, keys)
	}
}

// want compares what matters of a Decision.
func want(t testing.TB, d consume.Decision, a consume.Action, why consume.Reason, v dedup.Verdict) {
	t.Helper()
	if d.Action != a || d.Reason != why || d.Verdict != v {
		t.Errorf("%v, %v, %v (%v), want %v, %v, %v", d.Action, d.Reason, d.Verdict, d.Err, a, why, v)
	}
}

func guardKey(key string) []byte {
	return consume.JoinedKey(nil, consume.Scope{Topic: "orders"}, []byte(key))
}

// wantMarked looks at the guard itself.
func wantMarked(t testing.TB, g dedup.Guard, key string, want dedup.Verdict) {
	t.Helper()
	c, err := g.Claim(ctx, guardKey(key))
	if err != nil || c.Verdict != want {
		t.Errorf("%q is %v (%v), want %v", key, c.Verdict, err, want)
	}
}

func TestHandledOnce(t *testing.T) {
	var g memguard.Guard
	var dups []string
	c := newConsumer(t, &g, consume.Options{
		OnDuplicate: func(_ context.Context, m consume.Message, _ dedup.Claim) { dups = append(dups, string(m.Key)) },
	})
	var l handled
	want(t, c.Handle(ctx, message("a"), l.handle), consume.Ack, consume.Handled, dedup.Fresh)
	want(t, c.Handle(ctx, message("a"), l.handle), consume.Ack, consume.Duplicated, dedup.Duplicate)
	l.want(t, "a")
	if !slices.Equal(dups, []string{"a"}) {
		t.Errorf("the hook was told of %q", dups)
	}
}

func TestFailureReleases(t *testing.T) {
	boom := errors.New("boom")
	var g memguard.Guard
	c := newConsumer(t, &g, consume.Options{})
	l := handled{fails: map[string]error{"a": boom, "poison": fmt.Errorf("%w: not JSON", consume.ErrReject)}}
	d := c.Handle(ctx, message("a"), l.handle)
	want(t, d, consume.Retry, consume.Failed, dedup.Fresh)
	if !errors.Is(d.Err, boom) || d.Delay != 0 {
		t.Errorf("the error is %v and the delay %v", d.Err, d.Delay)
	}
	want(t, c.Handle(ctx, message("poison"), l.handle), consume.Reject, consume.Failed, dedup.Fresh)
	l.fails = nil
	want(t, c.Handle(ctx, message("a"), l.handle), consume.Ack, consume.Handled, dedup.Fresh)
	wantMarked(t, &g, "poison", dedup.Fresh)
}

func TestPanicReleases(t *testing.T) {
	var g memguard.Guard
	c := newConsumer(t, &g, consume.Options{})
	d := c.Handle(ctx, message("a"), func(context.Context, consume.Message) error { panic(context.Canceled) })
	want(t, d, consume.Retry, consume.Panicked, dedup.Fresh)
	var p *consume.PanicError
	if !errors.As(d.Err, &p) || !strings.Contains(string(p.Stack), "TestPanicReleases") || !errors.Is(d.Err, context.Canceled) {
		t.Errorf("the error is %v", d.Err)
	}
	wantMarked(t, &g, "a", dedup.Fresh)
}

// TestBatch has every kind of message in one batch.
func TestBatch(t *testing.T) {
	var g memguard.Guard
	c := newConsumer(t, &g, consume.Options{NoKey: consume.RefuseNoKey})
	var l handled
	c.HandleBatch(ctx, messages("done"), l.handle)
	if _, err := g.Claim(ctx, guardKey("held")); err != nil {
		t.Fatal(err)
	}
	l = handled{fails: map[string]error{"bad": errors.New("bad")}}
	long := message(strings.Repeat("x", dedup.MaxKeyLen))
	ms := append(messages("a", "bad", "a", "done", "bad", "held", "", "b"), long, message("c"))
	ds := c.HandleBatch(ctx, ms, l.handle)
	l.want(t, "a", "bad", "b", "c")
	want(t, ds[0], consume.Ack, consume.Handled, dedup.Fresh)
	want(t, ds[1], consume.Retry, consume.Failed, dedup.Fresh)
	want(t, ds[2], consume.Ack, consume.Duplicated, dedup.Duplicate)
	want(t, ds[3], consume.Ack, consume.Duplicated, dedup.Duplicate)
	want(t, ds[4], consume.Retry, consume.TwinFailed, dedup.InFlight)
	want(t, ds[5], consume.Retry, consume.Busy, dedup.InFlight)
	want(t, ds[6], consume.Reject, consume.NoKey, dedup.Unknown)
	want(t, ds[7], consume.Ack, consume.Handled, dedup.Fresh)
	want(t, ds[8], consume.Reject, consume.NoKey, dedup.Unknown)
	want(t, ds[9], consume.Ack, consume.Handled, dedup.Fresh)
	if !errors.Is(ds[8].Err, dedup.ErrKeyInvalid) || !errors.Is(ds[6].Err, consume.ErrNoKey) {
		t.Errorf("the errors of bad keys are %v and %v", ds[8].Err, ds[6].Err)
	}
	if n := g.Calls("ClaimBatch"); n != 2 {
		t.Errorf("%d calls of ClaimBatch, want 2 for two batches", n)
	}
	if n := g.Calls("Commit"); n != 2 {
		t.Errorf("%d calls of Commit, want 2 for two batches", n)
	}
	for key, v := range map[string]dedup.Verdict{"a": dedup.Duplicate, "b": dedup.Duplicate, "c": dedup.Duplicate, "bad": dedup.Fresh} {
		wantMarked(t, &g, key, v)
	}
	n := c.Snapshot()
	if len(n) != 1 || n[0].Scope.Topic != "orders" || n[0].Fresh != 5 || n[0].Duplicate != 2 || n[0].InFlight != 2 || n[0].NotAsked != 2 ||
		n[0].NoKey != 2 || n[0].Acked != 6 || n[0].Retried != 3 || n[0].Rejected != 2 || n[0].Failed != 1 {
		t.Errorf("the counters are %+v", n)
	}
}

func TestOrderedStopsAtAFailure(t *testing.T) {
	var g memguard.Guard
	c := newConsumer(t, &g, consume.Options{Ordered: true})
	l := handled{fails: map[string]error{"b": errors.New("b")}}
	ds := c.HandleBatch(ctx, messages("a", "b", "c", "d"), l.handle)
	l.want(t, "a", "b")
	want(t, ds[0], consume.Ack, consume.Handled, dedup.Fresh)
	want(t, ds[1], consume.Retry, consume.Failed, dedup.Fresh)
	want(t, ds[2], consume.Retry, consume.Behind, dedup.Fresh)
	want(t, ds[3], consume.Retry, consume.Behind, dedup.Fresh)
	l.fails = nil
	ds = c.HandleBatch(ctx, messages("b", "c", "d"), l.handle)
	l.want(t, "a", "b", "b", "c", "d")
	for _, d := range ds {
		want(t, d, consume.Ack, consume.Handled, dedup.Fresh)
	}
}

// TestInFlightComesAgainAtTheLeasesEnd: hole 12, a wait spends no retries.
func TestInFlightComesAgainAtTheLeasesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := memguard.Guard{Lease: 20 * time.Second}
		c := newConsumer(t, &g, consume.Options{RetryMax: 30 * time.Second})
		held, err := g.Claim(ctx, guardKey("a"))
		if err != nil {
			t.Fatal(err)
		}
		var l handled
		for lease, delay := range map[time.Duration]time.Duration{
			20 * time.Second: 20 * time.Second, time.Hour: 30 * time.Second, time.Millisecond: 100 * time.Millisecond,
		} {
			if held, err = g.Extend(ctx, held, lease); err != nil {
				t.Fatal(err)
			}
			d := c.Handle(ctx, message("a"), l.handle)
			want(t, d, consume.Retry, consume.Busy, dedup.InFlight)
			if d.Delay != delay {
				t.Errorf("the other lease lasts %v, and the delay is %v, want %v", lease, d.Delay, delay)
			}
		}
		l.want(t)
	})
}

// TestLastDeliveryWaitsInPlace: a message that is in flight elsewhere is neither
// lost nor sent to the dead letters.
func TestLastDeliveryWaitsInPlace(t *testing.T) {
	for name, end := range map[string]struct {
		end    func(g dedup.Guard, c dedup.Claim) error
		reason consume.Reason
		v      dedup.Verdict
		n      int
	}{
		"commit":  {func(g dedup.Guard, c dedup.Claim) error { return g.Commit(ctx, c) }, consume.Duplicated, dedup.Duplicate, 0},
		"release": {func(g dedup.Guard, c dedup.Claim) error { return g.Release(ctx, c) }, consume.Handled, dedup.Fresh, 1},
		"death":   {func(dedup.Guard, dedup.Claim) error { return nil }, consume.Handled, dedup.Fresh, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := memguard.Guard{Lease: 20 * time.Second}
				c := newConsumer(t, &g, consume.Options{})
				held, err := g.Claim(ctx, guardKey("a"))
				if err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(5*time.Second, func() {
					if err := end.end(&g, held); err != nil {
						t.Error(err)
					}
				})
				var l handled
				m := message("a")
				m.LastDelivery = true
				want(t, c.Handle(ctx, m, l.handle), consume.Ack, end.reason, end.v)
				if len(l.keys) != end.n {
					t.Errorf("handled %d times, want %d", len(l.keys), end.n)
				}
				if n := c.Snapshot()[0]; n.Waited != 1 || n.Acked != 1 || n.Retried != 0 {
					t.Errorf("the counters are %+v", n)
				}
			})
		})
	}
}

func TestWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := memguard.Guard{Lease: time.Hour}
		c := newConsumer(t, &g, consume.Options{WaitMax: 3 * time.Second})
		if _, err := g.Claim(ctx, guardKey("a")); err != nil {
			t.Fatal(err)
		}
		var l handled
		m, began := message("a"), time.Now()
		m.LastDelivery = true
		want(t, c.Handle(ctx, m, l.handle), consume.Retry, consume.Busy, dedup.InFlight)
		if passed := time.Since(began); passed != 3*time.Second {
			t.Errorf("waited for %v, want 3 s", passed)
		}
	})
}

// TestSlowHandlerKeepsItsLease: hole 3.
func TestSlowHandlerKeepsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := memguard.Guard{Lease: time.Second}
		c := newConsumer(t, &g, consume.Options{})
		d := c.Handle(ctx, message("a"), func(ctx context.Context, _ consume.Message) error {
			for range 10 {
				<-time.After(time.Second)
				want(t, c.Handle(ctx, message("a"), nil), consume.Retry, consume.Busy, dedup.InFlight)
			}
			return ctx.Err()
		})
		want(t, d, consume.Ack, consume.Handled, dedup.Fresh)
	})
}

// TestLostLeaseCancelsTheHandler: and the handler that gave up releases nothing
// of the new holder's.
func TestLostLeaseCancelsTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := memguard.Guard{Lease: time.Second}
		c := newConsumer(t, &g, consume.Options{})
		d := c.Handle(ctx, message("a"), func(ctx context.Context, _ consume.Message) error {
			g.Steal(guardKey("a"))
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), dedup.ErrLeaseLost) {
				t.Errorf("the cause is %v", context.Cause(ctx))
			}
			return ctx.Err()
		})
		want(t, d, consume.Retry, consume.LeaseLost, dedup.Fresh)
		if !errors.Is(d.Err, dedup.ErrLeaseLost) {
			t.Errorf("the error is %v", d.Err)
		}
	})
}
