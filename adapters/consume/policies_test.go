package consume_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/dedup/policy"
	"github.com/firstseen/firstseen/internal/memguard"
)

var errDown = errors.New("the store is down")

// failing makes a guard whose calls of these names fail while down is true.
func failing(down *atomic.Bool, calls ...string) *memguard.Guard {
	return &memguard.Guard{Before: func(_ context.Context, call string) error {
		if down.Load() && slices.Contains(calls, call) {
			return errDown
		}
		return nil
	}}
}

func TestStoreDownRefuses(t *testing.T) {
	var down atomic.Bool
	g := failing(&down, "ClaimBatch")
	c := newConsumer(t, g, consume.Options{})
	var l handled
	down.Store(true)
	d := c.Handle(ctx, message("a"), l.handle)
	want(t, d, consume.Retry, consume.StoreDown, dedup.Unknown)
	if !errors.Is(d.Err, errDown) || d.Delay <= 0 {
		t.Errorf("the error is %v and the delay %v", d.Err, d.Delay)
	}
	l.want(t)
	down.Store(false)
	want(t, c.Handle(ctx, message("a"), l.handle), consume.Ack, consume.Handled, dedup.Fresh)
}

// TestStoreDownLetsThrough: by a policy around the guard, marked and counted.
func TestStoreDownLetsThrough(t *testing.T) {
	var down atomic.Bool
	g := failing(&down, "ClaimBatch")
	c := newConsumer(t, policy.New(g, policy.Options{OnDown: policy.LetThrough}), consume.Options{})
	var l handled
	down.Store(true)
	d := c.Handle(ctx, message("a"), func(ctx context.Context, m consume.Message) error {
		if !consume.WorkFrom(ctx).Claim().Unguarded {
			t.Error("the handler is not told that nobody holds the key")
		}
		down.Store(false) // the commit can try to mark the key
		return l.handle(ctx, m)
	})
	want(t, d, consume.Ack, consume.Handled, dedup.Fresh)
	if !d.Unguarded || c.Snapshot()[0].Unguarded != 1 {
		t.Errorf("Unguarded is %v, the counters are %+v", d.Unguarded, c.Snapshot())
	}
	want(t, c.Handle(ctx, message("a"), l.handle), consume.Ack, consume.Duplicated, dedup.Duplicate)
}

// TestCommitIsTriedAgain: the effect has happened, so a short failure of the
// store must not repeat it.
func TestCommitIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		g := failing(&down, "Commit")
		c := newConsumer(t, g, consume.Options{})
		down.Store(true)
		time.AfterFunc(3*time.Second, func() { down.Store(false) })
		var l handled
		want(t, c.Handle(ctx, message("a"), l.handle), consume.Ack, consume.Handled, dedup.Fresh)
		wantMarked(t, g, "a", dedup.Duplicate)
	})
}

// TestCommitFails: what is not marked is not acknowledged, but for a last delivery.
func TestCommitFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		g := failing(&down, "Commit")
		c := newConsumer(t, g, consume.Options{EndTimeout: 2 * time.Second})
		down.Store(true)
		began := time.Now()
		var l handled
		d := c.Handle(ctx, message("a"), l.handle)
		want(t, d, consume.Retry, consume.NotMarked, dedup.Fresh)
		if passed := time.Since(began); passed != 2*time.Second || !errors.Is(d.Err, errDown) {
			t.Errorf("after %v: %v", passed, d.Err)
		}
		m := message("b")
		m.LastDelivery = true
		want(t, c.Handle(ctx, m, l.handle), consume.Ack, consume.NotMarked, dedup.Fresh)
		if n := c.Snapshot()[0]; n.NotMarked != 2 {
			t.Errorf("the counters are %+v", n)
		}
	})
}

// TestLostClaimIsAskedAgain: a handler that succeeded though its claim was lost.
func TestLostClaimIsAskedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		other  func(g *memguard.Guard) // what happens to the key meanwhile
		action consume.Action
		reason consume.Reason
		then   dedup.Verdict
	}{
		"nobody took it":   {func(*memguard.Guard) {}, consume.Ack, consume.Handled, dedup.Duplicate},
		"another holds it": {func(g *memguard.Guard) { claimIt(g) }, consume.Retry, consume.LeaseLost, dedup.InFlight},
		"another marked it": {func(g *memguard.Guard) {
			_ = g.Commit(ctx, claimIt(g))
		}, consume.Ack, consume.Handled, dedup.Duplicate},
	} {
		t.Run(name, func(t *testing.T) {
			var g memguard.Guard
			c := newConsumer(t, &g, consume.Options{})
			d := c.Handle(ctx, message("a"), func(context.Context, consume.Message) error {
				g.Steal(guardKey("a"))
				tc.other(&g)
				return nil
			})
			want(t, d, tc.action, tc.reason, dedup.Fresh)
			wantMarked(t, &g, "a", tc.then)
		})
	}
}

func claimIt(g *memguard.Guard) dedup.Claim {
	c, _ := g.Claim(ctx, guardKey("a"))
	return c
}

// TestEndedContextStillEnds: claims are ended though the caller has gone.
func TestEndedContextStillEnds(t *testing.T) {
	g := memguard.Guard{Before: func(ctx context.Context, _ string) error { return ctx.Err() }} // all it does has to wait
	c := newConsumer(t, &g, consume.Options{})
	gone, cancel := context.WithCancel(ctx)
	d := c.Handle(gone, message("a"), func(context.Context, consume.Message) error { cancel(); return nil })
	want(t, d, consume.Ack, consume.Handled, dedup.Fresh)
	gone, cancel = context.WithCancel(ctx)
	d = c.Handle(gone, message("b"), func(ctx context.Context, _ consume.Message) error { cancel(); return ctx.Err() })
	want(t, d, consume.Retry, consume.Failed, dedup.Fresh)
	wantMarked(t, &g, "a", dedup.Duplicate)
	wantMarked(t, &g, "b", dedup.Fresh)
	want(t, c.Handle(gone, message("c"), nil), consume.Retry, consume.Stopped, dedup.Unknown)
	wantMarked(t, &g, "c", dedup.Fresh)
}

func TestResultIsKept(t *testing.T) {
	var g memguard.Guard
	var got []byte
	c := newConsumer(t, &g, consume.Options{OnDuplicate: func(_ context.Context, _ consume.Message, c dedup.Claim) { got = c.Result }})
	h := func(ctx context.Context, _ consume.Message) error {
		consume.WorkFrom(ctx).SetResult([]byte("receipt 7"))
		return nil
	}
	ds := c.HandleBatch(ctx, messages("a", "a"), h)
	if string(ds[0].Result) != "receipt 7" || string(ds[1].Result) != "receipt 7" || string(got) != "receipt 7" {
		t.Errorf("the results are %q and %q, the hook's %q", ds[0].Result, ds[1].Result, got)
	}
	if d := c.Handle(ctx, message("a"), h); string(d.Result) != "receipt 7" || d.Reason != consume.Duplicated {
		t.Errorf("a duplicate is %v with the result %q", d.Reason, d.Result)
	}
}

// TestHandlerCommitsItself: the inbox. The handler ends its claim in its own
// transaction, and the consumer doesn't end it again.
func TestHandlerCommitsItself(t *testing.T) {
	var g memguard.Guard
	c := newConsumer(t, &g, consume.Options{})
	ds := c.HandleBatch(ctx, messages("a", "b"), func(ctx context.Context, m consume.Message) error {
		if string(m.Key) != "a" {
			return nil
		}
		w := consume.WorkFrom(ctx)
		w.SetResult([]byte("in the transaction"))
		if err := g.Commit(ctx, w.Claim()); err != nil {
			return err
		}
		w.SetCommitted()
		return nil
	})
	want(t, ds[0], consume.Ack, consume.Handled, dedup.Fresh)
	want(t, ds[1], consume.Ack, consume.Handled, dedup.Fresh)
	if n := g.Calls("Commit"); n != 2 {
		t.Errorf("%d calls of Commit, want the handler's and the other message's", n)
	}
	if r, _ := g.Result(guardKey("a")); string(r) != "in the transaction" {
		t.Errorf("the result is %q", r)
	}
}

func TestNoKeyIsHandled(t *testing.T) {
	var g memguard.Guard
	c := newConsumer(t, &g, consume.Options{Key: func(consume.Message) ([]byte, error) { return nil, errors.New("no such field") }})
	var l handled
	for range 2 {
		want(t, c.Handle(ctx, consume.Message{}, l.handle), consume.Ack, consume.Handled, dedup.Unknown)
	}
	l.want(t, "", "")
	if n := c.Snapshot()[0]; n.NoKey != 2 || n.NotAsked != 2 || n.Acked != 2 {
		t.Errorf("the counters are %+v", n)
	}
}

func TestObserveDropsNothing(t *testing.T) {
	var down atomic.Bool
	g := failing(&down, "ClaimBatch")
	dups := 0
	c := newConsumer(t, g, consume.Options{Observe: true, OnDuplicate: func(context.Context, consume.Message, dedup.Claim) { dups++ }})
	var l handled
	want(t, c.Handle(ctx, message("a"), l.handle), consume.Ack, consume.Handled, dedup.Fresh)
	want(t, c.Handle(ctx, message("a"), l.handle), consume.Ack, consume.Handled, dedup.Duplicate)
	held, err := g.Claim(ctx, guardKey("held"))
	if err != nil {
		t.Fatal(err)
	}
	want(t, c.Handle(ctx, message("held"), l.handle), consume.Ack, consume.Handled, dedup.InFlight)
	down.Store(true)
	want(t, c.Handle(ctx, message("b"), l.handle), consume.Ack, consume.Handled, dedup.Unknown)
	l.want(t, "a", "a", "held", "b")
	if n := c.Snapshot()[0]; dups != 1 || n.Fresh != 1 || n.Duplicate != 1 || n.InFlight != 1 || n.Unknown != 1 || n.Acked != 4 {
		t.Errorf("%d duplicates told, the counters are %+v", dups, n)
	}
	if err := g.Commit(ctx, held); err != nil {
		t.Errorf("the other holder's claim was ended: %v", err)
	}
}

func TestOffAsksNobody(t *testing.T) {
	c := newConsumer(t, nil, consume.Options{Off: true})
	var l handled
	for _, d := range c.HandleBatch(ctx, messages("a", "a"), l.handle) {
		want(t, d, consume.Ack, consume.Handled, dedup.Unknown)
	}
	l.want(t, "a", "a")
}

// TestScopesNeverMeet: holes 8 and 11, in the guard's keys.
func TestScopesNeverMeet(t *testing.T) {
	var g memguard.Guard
	var l handled
	for _, o := range []consume.Options{
		{}, {Scope: consume.Scope{Application: "app"}}, {Scope: consume.Scope{Instance: "1"}}, {Scope: consume.Scope{Instance: "2"}},
	} {
		c := newConsumer(t, &g, o)
		for _, m := range []consume.Message{
			{Topic: "t", Key: []byte("T1:42")}, {Topic: "t", Tag: "T1", Key: []byte("42")}, {Topic: "t", Tag: "T1:", Key: []byte("42")},
			{Topic: "tT1", Key: []byte("42")}, {Key: []byte("app")}, {Tag: "app", Key: []byte("k")}, {Topic: "app", Key: []byte("k")},
		} {
			want(t, c.Handle(ctx, m, l.handle), consume.Ack, consume.Handled, dedup.Fresh)
		}
	}
}

// TestCloseWaits: for the handlers that run, and no longer than its context.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g memguard.Guard
		c := newConsumer(t, &g, consume.Options{})
		started := make(chan struct{})
		var calls sync.WaitGroup
		calls.Go(func() {
			d := c.Handle(ctx, message("slow"), func(context.Context, consume.Message) error {
				close(started)
				<-time.After(5 * time.Second)
				return nil
			})
			want(t, d, consume.Ack, consume.Handled, dedup.Fresh)
		})
		<-started
		began := time.Now()
		if err := c.Close(ctx); err != nil || time.Since(began) != 5*time.Second {
			t.Errorf("Close took %v: %v", time.Since(began), err)
		}
		d := c.Handle(ctx, message("late"), nil)
		want(t, d, consume.Retry, consume.Stopped, dedup.Unknown)
		if !errors.Is(d.Err, consume.ErrClosed) {
			t.Errorf("the error is %v", d.Err)
		}
		calls.Wait()
	})
}

func TestCloseLosesPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g memguard.Guard
		c := newConsumer(t, &g, consume.Options{})
		var calls sync.WaitGroup
		calls.Go(func() {
			d := c.Handle(ctx, message("stuck"), func(ctx context.Context, _ consume.Message) error {
				<-ctx.Done()
				return context.Cause(ctx)
			})
			want(t, d, consume.Retry, consume.Failed, dedup.Fresh)
			if !errors.Is(d.Err, consume.ErrClosed) {
				t.Errorf("the handler's cause is %v", d.Err)
			}
		})
		synctest.Wait()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := c.Close(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		wantMarked(t, &g, "stuck", dedup.Fresh)
		calls.Wait()
	})
}

// TestWorkersRunAtOnce: all handlers of a batch meet.
func TestWorkersRunAtOnce(t *testing.T) {
	var g memguard.Guard
	c := newConsumer(t, &g, consume.Options{Workers: 4})
	var meet sync.WaitGroup
	meet.Add(4)
	ds := c.HandleBatch(ctx, messages("a", "b", "c", "d"), func(context.Context, consume.Message) error {
		meet.Done()
		meet.Wait()
		return nil
	})
	for _, d := range ds {
		want(t, d, consume.Ack, consume.Handled, dedup.Fresh)
	}
}

func TestOptionsNameEveryProblem(t *testing.T) {
	_, err := consume.New(nil, consume.Options{Workers: -1, RetryMin: time.Hour, Lease: -1, NoKey: 9})
	for _, part := range []string{"Workers", "RetryMin", "Lease", "NoKey", "no guard"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v says nothing of %s", err, part)
		}
	}
}
