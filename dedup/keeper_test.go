package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/memguard"
)

// claimAll claims keys that must be fresh.
func claimAll(t testing.TB, g dedup.Guard, keys ...string) []dedup.Claim {
	t.Helper()
	var all [][]byte
	for _, key := range keys {
		all = append(all, []byte(key))
	}
	cs, err := g.ClaimBatch(context.Background(), nil, all)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cs {
		if c.Verdict != dedup.Fresh {
			t.Fatalf("%s is %v", keys[i], c.Verdict)
		}
	}
	return cs
}

func TestKeeperExtends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &memguard.Guard{Lease: 30 * time.Second}
		cs := claimAll(t, g, "a", "b")
		var k dedup.Keeper
		k.Start(t.Context(), g, time.Minute, cs...)
		<-time.After(5*time.Minute + time.Second)
		if err := k.Context(1).Err(); err != nil {
			t.Error(err, context.Cause(k.Context(1)))
		}
		k.Stop()
		if g.Calls("Extend") != 30 { // at 10 s, then each 20 s: 15 rounds of two claims
			t.Errorf("%d calls of Extend", g.Calls("Extend"))
		}
		if err := g.Commit(t.Context(), cs...); err != nil {
			t.Error(err)
		}
	})
}

func TestKeeperEndsOneHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &memguard.Guard{}
		cs := claimAll(t, g, "a", "b", "c")
		var k dedup.Keeper
		k.Start(t.Context(), g, 0, cs...)
		defer k.Stop()
		b, c := k.Context(1), k.Context(2)
		g.Steal([]byte("b"))
		<-b.Done()
		var lost *dedup.LeaseError
		if cause := context.Cause(b); !errors.Is(cause, dedup.ErrLeaseLost) || !errors.As(cause, &lost) || lost.Index != 1 {
			t.Errorf("cause: %v", cause)
		}
		<-time.After(time.Hour)
		if c.Err() != nil || k.Context(0).Err() != nil {
			t.Error("the other handlers are cancelled too")
		}
		if k.Context(1).Err() == nil {
			t.Error("a later call of Context knows nothing of the loss")
		}
		if err := g.Commit(t.Context(), cs...); len(dedup.IndexesOf(err, dedup.ErrLeaseLost)) != 1 {
			t.Error(err)
		}
	})
}

// TestKeeperStoreDown: a store that is away for less than the lease is not
// noticed; one that stays away ends the handler when the lease has ended.
func TestKeeperStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down, start := errors.New("store down"), time.Now()
		var until atomic.Int64 // a duration
		until.Store(int64(25 * time.Second))
		g := &memguard.Guard{Lease: 30 * time.Second, Before: func(_ context.Context, call string) error {
			if call == "Extend" && int64(time.Since(start)) < until.Load() {
				return down
			}
			return nil
		}}
		cs := claimAll(t, g, "a")
		var k dedup.Keeper
		k.Start(t.Context(), g, 0, cs...)
		<-time.After(2 * time.Minute)
		if err := k.Context(0).Err(); err != nil {
			t.Fatal(context.Cause(k.Context(0)))
		}
		until.Store(int64(24 * time.Hour))
		ctx := k.Context(0)
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, dedup.ErrLeaseLost) || !errors.Is(cause, down) {
			t.Errorf("cause: %v", cause)
		}
		k.Stop()
		if c, err := g.Claim(t.Context(), []byte("a")); c.Verdict != dedup.Fresh {
			t.Errorf("the handler was cancelled although it holds the key, which is %v: %v", c.Verdict, err)
		}
	})
}

// TestKeeperHangingStore: a call that hangs is given up in time for another one.
func TestKeeperHangingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		hang.Store(true)
		g := &memguard.Guard{Before: func(ctx context.Context, call string) error {
			if call == "Extend" && hang.Swap(false) {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		cs := claimAll(t, g, "a")
		var k dedup.Keeper
		k.Start(t.Context(), g, 0, cs...)
		<-time.After(time.Hour)
		if err := k.Context(0).Err(); err != nil {
			t.Error(context.Cause(k.Context(0)))
		}
		hang.Store(true)
		<-time.After(11 * time.Second) // inside the hanging call
		k.Stop()                       // ends it
		if err := g.Commit(t.Context(), cs...); err != nil {
			t.Error(err)
		}
	})
}

// TestKeeperCallerGone: the caller's context ends the handler's, and the key
// is held until Stop.
func TestKeeperCallerGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &memguard.Guard{}
		cs := claimAll(t, g, "a")
		ctx, cancel := context.WithCancel(t.Context())
		var k dedup.Keeper
		k.Start(ctx, g, 0, cs...)
		cancel()
		if k.Context(0).Err() == nil {
			t.Error("the handler's context goes on")
		}
		<-time.After(time.Hour)
		k.Stop()
		if err := g.Commit(t.Context(), cs...); err != nil {
			t.Error(err)
		}
	})
}

func TestKeeperLeavesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &memguard.Guard{}
		var k dedup.Keeper
		k.Stop()
		k.Start(t.Context(), g, 0,
			dedup.Claim{Key: []byte("a"), Verdict: dedup.Duplicate},
			dedup.Claim{Key: []byte("b"), Verdict: dedup.InFlight, Expires: time.Now().Add(time.Second)},
			dedup.Claim{Key: []byte("c"), Verdict: dedup.Fresh, Unguarded: true})
		<-time.After(time.Hour)
		ctx := k.Context(2)
		if ctx.Err() != nil || g.Calls("Extend") != 0 {
			t.Errorf("%v, %d calls of Extend", ctx.Err(), g.Calls("Extend"))
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a second Start doesn't panic")
				}
			}()
			k.Start(t.Context(), g, 0)
		}()
		k.Stop()
		if ctx.Err() == nil {
			t.Error("the context goes on after Stop")
		}
		k.Stop()
	})
}

func TestKeeperAllocs(t *testing.T) {
	g := &memguard.Guard{}
	cs := claimAll(t, g, "a", "b", "c")
	ctx := t.Context()
	var k dedup.Keeper
	f := func() {
		k.Start(ctx, g, 0, cs...)
		k.Stop()
	}
	f()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestKeeperRace: Stop meets rounds in every state.
func TestKeeperRace(t *testing.T) {
	g := &memguard.Guard{Lease: 31 * time.Millisecond} // a round each 10 ms
	var k dedup.Keeper
	for i := range 40 {
		cs := claimAll(t, g, fmt.Sprint("a", i), fmt.Sprint("b", i))
		k.Start(t.Context(), g, 0, cs...)
		ctx := k.Context(0)
		deadline := time.NewTimer(time.Duration(i/2) * time.Millisecond)
		<-deadline.C
		k.Stop()
		if ctx.Err() == nil {
			t.Fatal("the context goes on after Stop")
		}
	}
}

func ExampleKeeper() {
	ctx, guard := context.Background(), &memguard.Guard{}
	claims, err := guard.ClaimBatch(ctx, nil, [][]byte{[]byte("order-1"), []byte("order-2")})
	if err != nil {
		fmt.Println(err)
		return
	}
	var keeper dedup.Keeper // one for each consuming goroutine, used again for the next batch
	keeper.Start(ctx, guard, 0, claims...)
	for i, c := range claims {
		func(ctx context.Context) { // the handler: its context ends when its lease is lost
			fmt.Println("handle", string(c.Key), ctx.Err())
		}(keeper.Context(i))
	}
	keeper.Stop()
	fmt.Println(guard.Commit(ctx, claims...))
	// Output:
	// handle order-1 <nil>
	// handle order-2 <nil>
	// <nil>
}
