package policy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/dedup/guardtest"
	"github.com/firstseen/firstseen/dedup/policy"
	"github.com/firstseen/firstseen/internal/memguard"
)

var errDown = errors.New("connection refused")

// A store is a guard whose calls fail while fails is set.
type store struct {
	memguard.Guard
	fails atomic.Pointer[error]
}

func newStore() *store {
	s := &store{}
	s.Before = func(context.Context, string) error {
		if err := s.fails.Load(); err != nil {
			return *err
		}
		return nil
	}
	return s
}

func (s *store) down(err error) { s.fails.Store(&err) }
func (s *store) up()            { s.fails.Store(nil) }

func wantStats(t *testing.T, g *policy.Guard, want policy.Stats) {
	t.Helper()
	if got := g.Stats(); got != want {
		t.Errorf("counted %+v\nwant    %+v", got, want)
	}
}

func batch(keys ...string) (all [][]byte) {
	for _, key := range keys {
		all = append(all, []byte(key))
	}
	return all
}

// TestGuard: while the store is there, a policy changes nothing of what a guard promises.
func TestGuard(t *testing.T) {
	for _, action := range []policy.Action{policy.Refuse, policy.LetThrough} {
		guardtest.Run(t, guardtest.Config{
			New: func(_ testing.TB, lease time.Duration) guardtest.Subject {
				g := &memguard.Guard{Lease: lease, MaxResult: 1000}
				return guardtest.Subject{
					Guard:    policy.New(g, policy.Options{OnDown: action, OnUnknown: action}),
					Contains: g.Contains, Forget: g.Forget,
				}
			},
			MaxResult: 1000,
		})
	}
}

func TestRefuse(t *testing.T) {
	s := newStore()
	g := policy.New(s, policy.Options{})
	s.down(errDown)
	if c, err := g.Claim(t.Context(), []byte("k")); c.Verdict != dedup.Unknown || c.Unguarded || !errors.Is(err, errDown) {
		t.Errorf("%+v, %v", c, err)
	}
	cs, err := g.ClaimBatch(t.Context(), nil, batch("a", "b"))
	if len(cs) != 2 || cs[0].Verdict != dedup.Unknown || cs[1].Verdict != dedup.Unknown || !errors.Is(err, errDown) {
		t.Errorf("%+v, %v", cs, err)
	}
	wantStats(t, g, policy.Stats{Down: 3, Refused: 3, Failures: 2})
}

func TestLetThrough(t *testing.T) {
	s := newStore()
	var log bytes.Buffer
	g := policy.New(s, policy.Options{OnDown: policy.LetThrough, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	s.down(errDown)
	c, err := g.Claim(t.Context(), []byte("k"))
	if c.Verdict != dedup.Fresh || !c.Unguarded || c.Token != (dedup.Token{}) || string(c.Key) != "k" || err != nil {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err := g.Extend(t.Context(), c, time.Hour); err != nil || !c.Unguarded {
		t.Errorf("Extend: %+v, %v", c, err)
	}
	// The store is still down: nothing can be marked, and the commit is no error.
	if err := g.Commit(t.Context(), c); err != nil {
		t.Error(err)
	}
	wantStats(t, g, policy.Stats{Down: 1, LetThrough: 1, Unmarked: 1, Failures: 2})
	// It is back: the key is marked, with its result.
	s.up()
	c.Result = []byte("r")
	if err := g.Commit(t.Context(), c); err != nil {
		t.Error(err)
	}
	if r, marked := s.Result([]byte("k")); !marked || string(r) != "r" {
		t.Errorf("%q, marked: %v", r, marked)
	}
	// Somebody else was faster.
	if err := g.Commit(t.Context(), c); err != nil {
		t.Error(err)
	}
	wantStats(t, g, policy.Stats{Down: 1, LetThrough: 1, Unmarked: 1, MarkedLate: 1, HandledTwice: 1, Failures: 2})
	if err := g.Release(t.Context(), c); err != nil || s.Calls("Release") != 0 {
		t.Errorf("Release: %v, %d calls", err, s.Calls("Release"))
	}
	// Two reasons to log came at once: one line.
	if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "connection refused") {
		t.Errorf("%d lines:\n%s", lines, log.String())
	}
}

// TestInFlight: somebody handles the same key with a guard; it is his to mark.
func TestInFlight(t *testing.T) {
	s := newStore()
	g := policy.New(s, policy.Options{OnDown: policy.LetThrough, Logger: slog.New(slog.DiscardHandler)})
	if c, err := s.Guard.Claim(t.Context(), []byte("k")); err != nil || c.Verdict != dedup.Fresh {
		t.Fatal(c.Verdict, err)
	}
	if err := g.Commit(t.Context(), dedup.Claim{Key: []byte("k"), Verdict: dedup.Fresh, Unguarded: true}); err != nil {
		t.Error(err)
	}
	wantStats(t, g, policy.Stats{Unmarked: 1})
}

// TestMixedBatch: the guarded claims of a batch keep their places in errors.
func TestMixedBatch(t *testing.T) {
	s := newStore()
	g := policy.New(s, policy.Options{OnDown: policy.LetThrough, Logger: slog.New(slog.DiscardHandler)})
	cs, err := g.ClaimBatch(t.Context(), nil, batch("a", "b", "c"))
	if err != nil {
		t.Fatal(err)
	}
	s.down(errDown)
	if cs, err = g.ClaimBatch(t.Context(), cs, batch("x", "", "y")); len(dedup.IndexesOf(err, dedup.ErrKeyInvalid)) != 0 {
		t.Fatal(err) // the store said nothing of single keys
	}
	s.up()
	order := []dedup.Claim{cs[3], cs[0], cs[1], cs[5], cs[2]} // x a b y c
	s.Steal([]byte("b"))
	err = g.Commit(t.Context(), order...)
	if lost := dedup.IndexesOf(err, dedup.ErrLeaseLost); len(lost) != 1 || lost[0] != 2 {
		t.Errorf("lost: %v of %v", lost, err)
	}
	for key, want := range map[string]bool{"a": true, "b": false, "c": true, "x": true, "y": true} {
		if _, marked := s.Result([]byte(key)); marked != want {
			t.Errorf("%s marked: %v", key, marked)
		}
	}
	if order[0].Verdict != dedup.Fresh || !order[0].Unguarded {
		t.Error("Commit changed the caller's claims")
	}
}

// failing adds an error to every batch.
type failing struct {
	dedup.Guard
	err   error
	short bool // the claims are left out
}

func (f failing) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	if f.short {
		return cs, f.err
	}
	all, err := f.Guard.ClaimBatch(ctx, cs, keys)
	for i := range all[len(cs):] {
		if i%2 == 1 {
			all[len(cs)+i] = dedup.Claim{Key: keys[i]}
		}
	}
	return all, errors.Join(err, f.err)
}

// TestErrorsOfKeys: a store that failed for half of a batch, and a bad key.
func TestErrorsOfKeys(t *testing.T) {
	f := func(opts policy.Options, storeErr error, short bool, want string, wantErr error) {
		t.Helper()
		opts.Logger = slog.New(slog.DiscardHandler)
		inner := &memguard.Guard{}
		g := policy.New(failing{inner, storeErr, short}, opts)
		cs, err := g.ClaimBatch(t.Context(), nil, batch("a", "b", "", "d"))
		got := ""
		for _, c := range cs {
			got += fmt.Sprintf("%v %v ", c.Verdict, c.Unguarded)
		}
		if strings.TrimSpace(got) != want || wantErr == nil && errors.Is(err, errDown) || !errors.Is(err, wantErr) {
			t.Errorf("%s, %v\nwant %s, %v", got, err, want, wantErr)
		}
		if bad := dedup.IndexesOf(err, dedup.ErrKeyInvalid); !short && (len(bad) != 1 || bad[0] != 2) {
			t.Errorf("bad keys: %v in %v", bad, err)
		}
	}
	through := policy.Options{OnDown: policy.LetThrough}
	f(policy.Options{}, errDown, false, "fresh false unknown false unknown false unknown false", errDown)
	f(through, errDown, false, "fresh false fresh true unknown false fresh true", dedup.ErrKeyInvalid)
	f(through, fmt.Errorf("shop: %w", errDown), false, "fresh false fresh true unknown false fresh true", dedup.ErrKeyInvalid)
	f(through, dedup.ErrClosed, false, "fresh false unknown false unknown false unknown false", dedup.ErrClosed)
	f(through, nil, false, "fresh false unknown false unknown false unknown false", dedup.ErrKeyInvalid) // no store failed
	f(policy.Options{OnUnknown: policy.LetThrough}, nil, false, "fresh false fresh true unknown false fresh true", dedup.ErrKeyInvalid)
	f(through, errDown, true, "fresh true fresh true fresh true fresh true", nil)
	f(policy.Options{}, errDown, true, "unknown false unknown false unknown false unknown false", errDown)
}

func TestBadKeyIsNotDown(t *testing.T) {
	g := policy.New(&memguard.Guard{}, policy.Options{OnDown: policy.LetThrough, OnUnknown: policy.LetThrough})
	if c, err := g.Claim(t.Context(), nil); !errors.Is(err, dedup.ErrKeyInvalid) || c.Verdict != dedup.Unknown {
		t.Errorf("%+v, %v", c, err)
	}
	wantStats(t, g, policy.Stats{})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := &memguard.Guard{Before: func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		g := policy.New(hang, policy.Options{OnDown: policy.LetThrough, Timeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
		start := time.Now()
		if c, err := g.Claim(t.Context(), []byte("k")); err != nil || !c.Unguarded || time.Since(start) != time.Second {
			t.Errorf("%+v, %v after %v", c, err, time.Since(start))
		}
		// The caller has gone: that says nothing of the store.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if c, err := g.Claim(ctx, []byte("k")); !errors.Is(err, context.DeadlineExceeded) || c.Unguarded {
			t.Errorf("%+v, %v", c, err)
		}
		held := dedup.Claim{Key: []byte("k"), Verdict: dedup.Fresh}
		if err := errors.Join(g.Commit(t.Context(), held), g.Release(t.Context(), held)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if _, err := g.Extend(t.Context(), held, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		wantStats(t, g, policy.Stats{Down: 2, Refused: 1, LetThrough: 1, Failures: 5, Timeouts: 4})
	})
}

func TestLogIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.down(errDown)
		var log bytes.Buffer
		g := policy.New(s, policy.Options{OnDown: policy.LetThrough, Logger: slog.New(slog.NewJSONHandler(&log, nil)), LogEvery: time.Second})
		for range 25 { // at 0.0 to 2.4 s
			if _, err := g.Claim(t.Context(), []byte("k")); err != nil {
				t.Fatal(err)
			}
			<-time.After(100 * time.Millisecond)
		}
		var told uint64
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		for _, line := range lines {
			var l struct {
				Keys   uint64 `json:"keys"`
				Before uint64 `json:"keys_not_logged_before"`
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			told += l.Keys + l.Before
		}
		if len(lines) != 3 || told != 21 {
			t.Errorf("%d lines tell of %d keys:\n%s", len(lines), told, log.String())
		}
	})
}

// TestPassesOn: with a healthy store the wrapper changes nothing.
func TestPassesOn(t *testing.T) {
	s := newStore()
	g := policy.New(s, policy.Options{OnDown: policy.LetThrough, OnUnknown: policy.LetThrough})
	for _, want := range []dedup.Verdict{dedup.Fresh, dedup.InFlight} {
		if c, err := g.Claim(t.Context(), []byte("k")); err != nil || c.Verdict != want {
			t.Errorf("%+v, %v", c, err)
		}
	}
	fn := func(context.Context) ([]byte, error) { return []byte("r"), nil }
	for i := range 2 {
		a, err := dedup.Do(t.Context(), g, []byte("l"), fn, dedup.DoOptions{})
		if err != nil || string(a.Result) != "r" || a.Replayed != (i == 1) {
			t.Errorf("%+v, %v", a, err)
		}
	}
	wantStats(t, g, policy.Stats{})
}

func Example() {
	store := newStore()
	store.down(errors.New("connection refused"))
	guard := policy.New(store, policy.Options{
		OnDown:  policy.LetThrough,
		Timeout: 100 * time.Millisecond,
		Logger:  slog.New(slog.DiscardHandler),
	})
	ctx := context.Background()
	claim, err := guard.Claim(ctx, []byte("order-1"))
	fmt.Println(claim.Verdict, claim.Unguarded, err)
	store.up()
	fmt.Println(guard.Commit(ctx, claim))
	fmt.Println(guard.Stats().LetThrough, guard.Stats().MarkedLate)
	// Output:
	// fresh true <nil>
	// <nil>
	// 1 1
}
