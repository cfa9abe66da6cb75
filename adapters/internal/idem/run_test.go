package idem_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/adapters/internal/idem"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/memguard"
)

// A flaky store fails a number of Begins: before it has done anything, or after.
type flaky struct {
	intents.Store
	before, after int
}

var errLost = errors.New("connection lost")

func (f *flaky) Begin(ctx context.Context, in intents.Intent) (intents.Intent, error) {
	if f.before > 0 {
		f.before--
		return intents.Intent{}, errLost
	}
	prior, err := f.Store.Begin(ctx, in)
	if f.after > 0 {
		f.after--
		return intents.Intent{}, errLost
	}
	return prior, err
}

func newOperation(t *testing.T, g *memguard.Guard) (*idem.Operation, *flaky) {
	t.Helper()
	file, err := intents.Open(filepath.Join(t.TempDir(), "intents"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	store := &flaky{Store: file}
	c := &idem.Config{Guard: g, Intents: store, CallLimit: time.Second, Logger: slog.New(slog.DiscardHandler)}
	return &idem.Operation{Config: c, Context: t.Context(), Key: []byte("k")}, store
}

func begin(t *testing.T, o *idem.Operation) error {
	t.Helper()
	claim, err := o.Ask()
	if err != nil || claim.Verdict != dedup.Fresh {
		t.Fatalf("%v, %v", claim.Verdict, err)
	}
	_, err = o.Run(claim).Begin()
	return err
}

// TestBeginLost: where the answer of Begin is lost, an intent of our own is no
// doubt; one of somebody else stays one.
func TestBeginLost(t *testing.T) {
	f := func(before, after int, theirs bool, want error) {
		t.Helper()
		o, store := newOperation(t, &memguard.Guard{})
		if theirs {
			if _, err := store.Begin(t.Context(), intents.Intent{Key: o.Key, Begun: time.Now().Add(-time.Minute)}); err != nil {
				t.Fatal(err)
			}
		}
		store.before, store.after = before, after
		if err := begin(t, o); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	f(0, 0, false, nil)
	f(1, 0, false, nil)
	f(0, 1, false, nil)
	f(2, 0, false, errLost)
	f(0, 2, false, errLost)
	f(0, 0, true, intents.ErrInDoubt)
	f(1, 0, true, intents.ErrInDoubt)
	f(0, 1, true, intents.ErrInDoubt)
}

// TestClientGoneWhileClaiming: a client that hangs up while its key is claimed
// leaves no claim behind.
func TestClientGoneWhileClaiming(t *testing.T) {
	g := &memguard.Guard{}
	o, _ := newOperation(t, g)
	var hangUp context.CancelFunc
	o.Context, hangUp = context.WithCancel(t.Context())
	g.Before = func(ctx context.Context, call string) error {
		hangUp()
		return ctx.Err()
	}
	if claim, err := o.Ask(); claim.Verdict == dedup.Fresh || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", claim.Verdict, err)
	}
	if n := g.Calls("Release"); n != 1 {
		t.Errorf("released %d times", n)
	}
	o.Context = t.Context()
	if err := begin(t, o); err != nil {
		t.Errorf("the retry: %v", err)
	}
}

// TestCommitLost: a commit whose answer is lost is tried again, and one that was
// successful after all is not taken for a lost lease; one that fails each time is.
func TestCommitLost(t *testing.T) {
	f := func(before, after int, want error) {
		t.Helper()
		g := &losing{before: before, after: after}
		o, store := newOperation(t, &memguard.Guard{})
		o.Guard = g
		claim, err := o.Ask()
		if err != nil {
			t.Fatal(err)
		}
		r := o.Run(claim)
		if _, err := r.Begin(); err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(idem.AppendHead(nil, idem.Streamed, o.Fingerprint)); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		left, err := store.List(t.Context())
		if err != nil || len(left) > 0 != (want != nil) {
			t.Errorf("%d intents are left, %v", len(left), err)
		}
	}
	f(0, 0, nil)
	f(2, 0, nil)
	f(0, 1, nil)
	f(1, 1, nil)
	f(3, 0, errLost)
}

// losing loses Commits: before they have done anything, or after.
type losing struct {
	memguard.Guard
	before, after int
}

func (l *losing) Commit(ctx context.Context, claims ...dedup.Claim) error {
	if l.before > 0 {
		l.before--
		return errLost
	}
	err := l.Guard.Commit(ctx, claims...)
	if l.after > 0 {
		l.after--
		return errLost
	}
	return err
}

// TestComeAgain: what is left of a lease is advised only where it is less than the
// longest pause, since a living twin's lease never ends.
func TestComeAgain(t *testing.T) {
	f := func(longest, left, least, most time.Duration) {
		t.Helper()
		o := idem.Operation{Config: &idem.Config{RetryAfter: longest}}
		if d := o.ComeAgain(dedup.Claim{Expires: time.Now().Add(left)}); d < least || d > most {
			t.Errorf("%v left, at most %v: come again in %v", left, longest, d)
		}
	}
	f(time.Second, time.Minute, time.Second, time.Second)
	f(time.Hour, time.Minute, time.Millisecond, time.Minute)
	f(time.Second, -time.Minute, time.Millisecond, time.Millisecond)
}
