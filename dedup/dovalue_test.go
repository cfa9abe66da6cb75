package dedup_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/memguard"
)

type receipt struct {
	ID     string
	Amount int
}

func TestDoValue(t *testing.T) {
	g, n := &memguard.Guard{}, 0
	want := receipt{"r-1", 42}
	for i := range 2 {
		got, replayed, err := dedup.DoValue(t.Context(), g, []byte("k"), func(context.Context) (receipt, error) {
			n++
			return want, nil
		}, dedup.DoOptions{})
		if err != nil || got != want || replayed != (i == 1) || n != 1 {
			t.Errorf("%+v, %v, %v, %d runs", got, replayed, err, n)
		}
	}
	// Somebody else asks for another type.
	if _, replayed, err := dedup.DoValue(t.Context(), g, []byte("k"), func(context.Context) (int, error) { return 1, nil }, dedup.DoOptions{}); err == nil || !replayed {
		t.Errorf("%v, %v", replayed, err)
	}
}

func TestDoValueFails(t *testing.T) {
	g, n := &memguard.Guard{}, 0
	fails := func(context.Context) (receipt, error) { n++; return receipt{"half", 1}, errFn }
	for range 2 {
		if got, _, err := dedup.DoValue(t.Context(), g, []byte("k"), fails, dedup.DoOptions{}); !errors.Is(err, errFn) || got != (receipt{}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	final := dedup.DoOptions{Final: func(error) bool { return true }}
	for range 2 {
		var e *dedup.FinalError
		if got, _, err := dedup.DoValue(t.Context(), g, []byte("k"), fails, final); !errors.As(err, &e) || got != (receipt{}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if n != 3 {
		t.Errorf("%d runs", n)
	}
}

// TestDoValueNoJSON: the effect has happened, so the key is marked, and every
// call says what is wrong.
func TestDoValueNoJSON(t *testing.T) {
	g, n := &memguard.Guard{}, 0
	for i := range 2 {
		_, replayed, err := dedup.DoValue(t.Context(), g, []byte("k"), func(context.Context) (func(), error) {
			n++
			return func() {}, nil
		}, dedup.DoOptions{})
		var e *dedup.FinalError
		if !errors.As(err, &e) || !strings.Contains(e.Text, "encoding the answer") || replayed != (i == 1) || n != 1 {
			t.Errorf("%v, %v, %d runs", replayed, err, n)
		}
	}
}

// TestDoValueMarked: a key that was marked without a value has none to give.
func TestDoValueMarked(t *testing.T) {
	g := &memguard.Guard{}
	if err := g.Commit(t.Context(), claimAll(t, g, "k")...); err != nil {
		t.Fatal(err)
	}
	got, replayed, err := dedup.DoValue(t.Context(), g, []byte("k"), func(context.Context) (int, error) { return 1, nil }, dedup.DoOptions{})
	if !errors.Is(err, dedup.ErrResultLost) || got != 0 || !replayed {
		t.Errorf("%v, %v, %v", got, replayed, err)
	}
}
