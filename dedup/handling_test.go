package dedup_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/memguard"
)

// TestHandlerContext: a handler's context and those derived from it end with the caller's, when the
// lease is lost or at Stop, whichever comes first, with its cause, whether anybody has asked for more
// than its error before or not.
func TestHandlerContext(t *testing.T) {
	type key struct{}
	gone := errors.New("the client has gone")
	for name, c := range map[string]struct {
		end   func(leave func(), lose func(), k *dedup.Keeper)
		cause error
	}{
		"stop":       {func(leave, lose func(), k *dedup.Keeper) { k.Stop(); leave() }, context.Canceled},
		"lost":       {func(leave, lose func(), k *dedup.Keeper) { lose(); leave(); k.Stop() }, dedup.ErrLeaseLost},
		"the caller": {func(leave, lose func(), k *dedup.Keeper) { leave(); lose(); k.Stop() }, gone},
	} {
		for _, asked := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				g := &memguard.Guard{Lease: time.Minute}
				cs := claimAll(t, g, "a")
				parent, leave := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
				parent, cancel := context.WithTimeout(parent, time.Hour)
				defer cancel()
				var k dedup.Keeper
				k.Start(parent, g, 0, cs...)
				ctx := k.Context(0)
				if ctx.Err() != nil || ctx != k.Context(0) {
					t.Errorf("%s: %v at the start", name, ctx.Err())
				}
				child := ctx
				if asked {
					if context.Cause(ctx) != nil || ctx.Value(key{}) != "value" {
						t.Errorf("%s: cause %v, value %v", name, context.Cause(ctx), ctx.Value(key{}))
					}
					child, cancel = context.WithCancel(ctx)
					defer cancel()
				}
				c.end(func() { leave(gone) }, func() {
					if err := g.Release(t.Context(), cs...); err != nil {
						t.Fatal(err)
					}
					<-time.After(time.Minute) // synctest's: a renewal comes and is refused
				}, &k)
				for range 2 { // the second time they have been asked
					for _, ctx := range []context.Context{ctx, child} {
						if err := ctx.Err(); err != context.Canceled {
							t.Errorf("%s, asked before %v: ended with %v", name, asked, err)
						}
						<-ctx.Done()
						if cause := context.Cause(ctx); !errors.Is(cause, c.cause) {
							t.Errorf("%s, asked before %v: the cause is %v, want %v", name, asked, cause, c.cause)
						}
						if _, ok := ctx.Deadline(); !ok || ctx.Value(key{}) != "value" {
							t.Errorf("%s: deadline %v, value %v", name, ok, ctx.Value(key{}))
						}
					}
				}
			})
		}
	}
}

// TestHandlerContextRace: whoever asks for a handler's context while it ends gets one that ends.
func TestHandlerContextRace(t *testing.T) {
	g := &memguard.Guard{}
	for range 200 {
		var k dedup.Keeper
		k.Start(t.Context(), g, 0, dedup.Claim{Key: []byte("a"), Verdict: dedup.Fresh, Unguarded: true})
		ctx := k.Context(0)
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() { _ = ctx.Err(); <-ctx.Done(); _ = context.Cause(ctx) })
		}
		k.Stop()
		wait.Wait()
		if ctx.Err() == nil {
			t.Fatal("it goes on")
		}
	}
}
