package dedup_test

import (
	"context"
	"errors"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// lateAsker is a guard whose Commit looks at its context, and keeps it.
type lateAsker struct {
	dedup.Guard
	look func(context.Context)
	kept context.Context
}

func (g *lateAsker) Claim(context.Context, []byte) (dedup.Claim, error) {
	return dedup.Claim{Verdict: dedup.Fresh}, nil
}

func (g *lateAsker) Commit(ctx context.Context, _ ...dedup.Claim) error {
	g.kept = ctx
	g.look(ctx)
	return nil
}

// TestDoEndContext: the context that Commit gets has the values of the caller's and a
// deadline, is not ended by the caller, and has ended when Do has returned, whether
// Commit asked for it or not.
func TestDoEndContext(t *testing.T) {
	type key struct{}
	for name, look := range map[string]func(context.Context){
		"not asked": func(context.Context) {},
		"asked": func(ctx context.Context) {
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			for _, c := range []context.Context{ctx, child} {
				_, limited := c.Deadline()
				if c.Value(key{}) != "value" || !limited || c.Err() != nil || context.Cause(c) != nil {
					t.Errorf("value %v, deadline %v, error %v, cause %v", c.Value(key{}), limited, c.Err(), context.Cause(c))
				}
				select {
				case <-c.Done():
					t.Error("it has ended")
				default:
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := &lateAsker{look: look}
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
			run := func(context.Context) ([]byte, error) { cancel(); return nil, nil }
			if _, err := dedup.Do(ctx, g, []byte("k"), run, dedup.DoOptions{}); err != nil {
				t.Fatal(err)
			}
			<-g.kept.Done()
			if err := g.kept.Err(); !errors.Is(err, context.Canceled) {
				t.Errorf("after Do: %v", err)
			}
		})
	}
}
