package token_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/memguard"
	"github.com/firstseen/firstseen/token"
)

var (
	oldKey = token.Key{ID: 1, Secret: bytes.Repeat([]byte{1}, 32)}
	newKey = token.Key{ID: 2, Secret: bytes.Repeat([]byte{2}, 32)}
)

func issuer(t testing.TB, opts token.Options) *token.Issuer {
	t.Helper()
	if opts.Keys == nil {
		opts.Keys = []token.Key{oldKey}
	}
	if opts.Window == 0 {
		opts.Window = time.Hour
	}
	s, err := token.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func issue(t testing.TB, s *token.Issuer, ttl time.Duration) string {
	t.Helper()
	text, err := s.Issue("alice", "pay", ttl)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRedeem(t *testing.T) {
	s, g := issuer(t, token.Options{}), &memguard.Guard{}
	text, other := issue(t, s, time.Minute), issue(t, s, time.Minute)
	if text == other {
		t.Fatal("two tokens are the same")
	}
	c, err := s.Redeem(t.Context(), g, text, "alice", "pay")
	if err != nil || c.Verdict != dedup.Fresh {
		t.Fatalf("%+v, %v", c, err)
	}
	if twin, err := s.Redeem(t.Context(), g, text, "alice", "pay"); !errors.Is(err, dedup.ErrInFlight) || !twin.Expires.Equal(c.Expires) {
		t.Errorf("%+v, %v", twin, err)
	}
	if err := g.Release(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if c, err = s.Redeem(t.Context(), g, text, "alice", "pay"); err != nil {
		t.Fatalf("after a release: %v", err)
	}
	c.Result = []byte("receipt")
	if err := g.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Redeem(t.Context(), g, text, "alice", "pay"); !errors.Is(err, token.ErrRedeemed) || string(again.Result) != "receipt" {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := s.Redeem(t.Context(), g, other, "alice", "pay"); err != nil {
		t.Errorf("another token: %v", err)
	}
}

// TestForged: every change of one bit of a token, every other subject and
// operation.
func TestForged(t *testing.T) {
	s, g := issuer(t, token.Options{}), &memguard.Guard{}
	text := issue(t, s, time.Minute)
	f := func(text, subject, operation string) {
		t.Helper()
		if c, err := s.Redeem(t.Context(), g, text, subject, operation); !errors.Is(err, token.ErrForged) || c.Verdict != dedup.Unknown {
			t.Errorf("%s for %q, %q: %+v, %v", text, subject, operation, c, err)
		}
	}
	f(text, "bob", "pay")
	f(text, "alice", "refund")
	f(text, "alicep", "ay")
	f("", "alice", "pay")
	f(text+"A", "alice", "pay")
	f(text[:len(text)-1], "alice", "pay")
	f(strings.Repeat("=", len(text)), "alice", "pay")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) * 8 {
		raw[i/8] ^= 1 << (i % 8)
		f(base64.RawURLEncoding.EncodeToString(raw), "alice", "pay")
		raw[i/8] ^= 1 << (i % 8)
	}
	// The last character carries unused bits: only one text is the token.
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, d := range digits {
		if other := text[:len(text)-1] + string(d); other != text {
			f(other, "alice", "pay")
		}
	}
	if g.Calls("Claim") != 0 {
		t.Errorf("the guard was asked %d times", g.Calls("Claim"))
	}
}

func TestTime(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	clock := func() time.Time { return now }
	s := issuer(t, token.Options{Now: clock})
	for _, ttl := range []time.Duration{0, -time.Second, time.Hour + 1} {
		if text, err := s.Issue("alice", "pay", ttl); !errors.Is(err, token.ErrTTL) || text != "" {
			t.Errorf("%v: %q, %v", ttl, text, err)
		}
	}
	text := issue(t, s, time.Hour)
	// A replica whose guard forgets sooner must not take it.
	short := issuer(t, token.Options{Now: clock, Window: time.Minute})
	if _, err := short.Key(text, "alice", "pay"); !errors.Is(err, token.ErrTTL) {
		t.Errorf("with a shorter window: %v", err)
	}
	now = now.Add(time.Hour - time.Millisecond)
	if _, err := s.Key(text, "alice", "pay"); err != nil {
		t.Errorf("before its end: %v", err)
	}
	now = now.Add(time.Millisecond)
	if _, err := s.Key(text, "alice", "pay"); !errors.Is(err, token.ErrExpired) {
		t.Errorf("at its end: %v", err)
	}
	if _, err := s.Key(text, "bob", "pay"); !errors.Is(err, token.ErrForged) {
		t.Errorf("a forged one is not called expired: %v", err)
	}
}

func TestRotation(t *testing.T) {
	before := issuer(t, token.Options{Keys: []token.Key{oldKey}})
	during := issuer(t, token.Options{Keys: []token.Key{newKey, oldKey}})
	after := issuer(t, token.Options{Keys: []token.Key{newKey}})
	f := func(from, to *token.Issuer, want error) {
		t.Helper()
		if _, err := to.Key(issue(t, from, time.Minute), "alice", "pay"); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	f(before, during, nil)
	f(during, after, nil)
	f(before, after, token.ErrForged)
	f(during, before, token.ErrForged)
	// The same id with another secret.
	f(issuer(t, token.Options{Keys: []token.Key{{ID: 1, Secret: newKey.Secret}}}), before, token.ErrForged)
}

func TestOptions(t *testing.T) {
	_, err := token.New(token.Options{Keys: []token.Key{{ID: 7, Secret: make([]byte, 31)}, {ID: 7, Secret: make([]byte, 32)}}})
	for _, part := range []string{"key 7 has 31 bytes", "two keys have the id 7", "window is 0s"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v doesn't say %q", err, part)
		}
	}
	if _, err := token.New(token.Options{Window: time.Hour}); err == nil {
		t.Error("no keys are taken")
	}
	// The caller may clear its secret.
	secret := bytes.Clone(oldKey.Secret)
	s := issuer(t, token.Options{Keys: []token.Key{{ID: 1, Secret: secret}}})
	clear(secret)
	if _, err := issuer(t, token.Options{}).Key(issue(t, s, time.Minute), "alice", "pay"); err != nil {
		t.Error(err)
	}
}

func TestGuardAnswers(t *testing.T) {
	s := issuer(t, token.Options{})
	text := issue(t, s, time.Minute)
	down := errors.New("store down")
	g := &memguard.Guard{Before: func(context.Context, string) error { return down }}
	if _, err := s.Redeem(t.Context(), g, text, "alice", "pay"); !errors.Is(err, down) {
		t.Error(err)
	}
	if _, err := s.Redeem(t.Context(), unknown{}, text, "alice", "pay"); !errors.Is(err, dedup.ErrUnknown) {
		t.Error(err)
	}
	small := &memguard.Guard{MaxResult: -1}
	c, err := s.Redeem(t.Context(), small, text, "alice", "pay")
	if err != nil {
		t.Fatal(err)
	}
	c.Result = []byte("r")
	if err := small.Commit(t.Context(), c); !errors.Is(err, dedup.ErrResultTooLarge) {
		t.Fatal(err)
	}
	if _, err := s.Redeem(t.Context(), small, text, "alice", "pay"); !errors.Is(err, token.ErrRedeemed) || !errors.Is(err, dedup.ErrResultTooLarge) {
		t.Error(err)
	}
}

type unknown struct{ dedup.Guard }

func (unknown) Claim(context.Context, []byte) (dedup.Claim, error) { return dedup.Claim{}, nil }

// TestOneWinner: many redeem many tokens at once, on the engine.
func TestOneWinner(t *testing.T) {
	e, err := engine.Open(t.TempDir(), engine.Options{Window: time.Hour, Sync: engine.SyncNone})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s := issuer(t, token.Options{})
	var wins [20]atomic.Int32
	var wg sync.WaitGroup
	for i := range wins {
		text := issue(t, s, time.Minute)
		for range 16 {
			wg.Go(func() {
				c, err := s.Redeem(t.Context(), e, text, "alice", "pay")
				switch {
				case err == nil:
					wins[i].Add(1)
					if err := e.Commit(t.Context(), c); err != nil {
						t.Error(err)
					}
				case !errors.Is(err, dedup.ErrInFlight) && !errors.Is(err, token.ErrRedeemed):
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for i := range wins {
		if n := wins[i].Load(); n != 1 {
			t.Errorf("token %d was redeemed %d times", i, n)
		}
	}
}

// FuzzKey: nothing but what was issued is a token.
func FuzzKey(f *testing.F) {
	s := issuer(f, token.Options{})
	f.Add(issue(f, issuer(f, token.Options{Keys: []token.Key{newKey}}), time.Minute))
	f.Add(strings.Repeat("A", 82))
	f.Fuzz(func(t *testing.T, text string) {
		if key, err := s.Key(text, "alice", "pay"); !errors.Is(err, token.ErrForged) {
			t.Errorf("%q: %x, %v", text, key, err)
		}
	})
}

// A payment form carries a token; sending it twice pays once.
func Example() {
	issuer, err := token.New(token.Options{
		Keys:   []token.Key{{ID: 1, Secret: []byte("32 random bytes from your secrets")}},
		Window: 24 * time.Hour, // the guard's
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	form, err := issuer.Issue("alice", "pay", time.Hour)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, guard := context.Background(), &memguard.Guard{} // or an engine, or a shared store
	for range 2 {
		claim, err := issuer.Redeem(ctx, guard, form, "alice", "pay")
		if errors.Is(err, token.ErrRedeemed) {
			fmt.Printf("done before: %s\n", claim.Result)
			continue
		}
		claim.Result = []byte("receipt 17")
		fmt.Println("paid:", guard.Commit(ctx, claim))
	}
	_, err = issuer.Redeem(ctx, guard, form, "mallory", "pay")
	fmt.Println(err)
	// Output:
	// paid: <nil>
	// done before: receipt 17
	// token: forged, or issued for something else
}

// With dedup.Do the others wait for the first one's answer.
func ExampleIssuer_Key() {
	issuer, err := token.New(token.Options{Keys: []token.Key{oldKey}, Window: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	form, err := issuer.Issue("alice", "pay", time.Minute)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, guard := context.Background(), &memguard.Guard{}
	for range 2 {
		key, err := issuer.Key(form, "alice", "pay")
		if err != nil {
			fmt.Println(err)
			return
		}
		answer, err := dedup.Do(ctx, guard, key, func(context.Context) ([]byte, error) { return []byte("receipt 17"), nil }, dedup.DoOptions{})
		fmt.Printf("%s %v %v\n", answer.Result, answer.Replayed, err)
	}
	// Output:
	// receipt 17 false <nil>
	// receipt 17 true <nil>
}
