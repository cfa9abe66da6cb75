package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// counted counts the keys that a guard is asked for, and fails on demand.
type counted struct {
	dedup.Guard
	asked int
	fails error
}

func (c *counted) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	c.asked++
	return c.Guard.Claim(ctx, key)
}

func (c *counted) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	c.asked += len(keys)
	return c.Guard.ClaimBatch(ctx, cs, keys)
}

func (c *counted) Commit(ctx context.Context, claims ...dedup.Claim) error {
	return errors.Join(c.Guard.Commit(ctx, claims...), c.fails)
}

func layered(t *testing.T, o Options) (*Guard, *counted, *fakeClock) {
	t.Helper()
	s := subject(t, t.TempDir(), 0, time.Minute)
	clock := newClock()
	c := &counted{Guard: s.Peer}
	g, err := New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	g.cache.clock = clock.moment
	return g, c, clock
}

func claim(t *testing.T, g dedup.Guard, key string, want dedup.Verdict) dedup.Claim {
	t.Helper()
	c, err := g.Claim(ctx, []byte(key))
	if err != nil || c.Verdict != want {
		t.Fatalf("Claim(%s) is %v (%v), want %v", key, c.Verdict, err, want)
	}
	return c
}

func mark(t *testing.T, g dedup.Guard, key string) {
	t.Helper()
	if err := g.Commit(ctx, claim(t, g, key, dedup.Fresh)); err != nil {
		t.Fatal(err)
	}
}

// TestNearDuplicates cost no round trip, alone and in batches.
func TestNearDuplicates(t *testing.T) {
	g, behind, _ := layered(t, Options{Window: time.Hour})
	mark(t, g, "k")
	behind.asked = 0
	d := claim(t, g, "k", dedup.Duplicate)
	if d.Expires.IsZero() || behind.asked != 0 {
		t.Fatalf("a near duplicate asked the store %d times and ends at %v", behind.asked, d.Expires)
	}
	cs, err := g.ClaimBatch(ctx, nil, [][]byte{[]byte("k"), []byte("new"), nil, []byte("k"), []byte("new")})
	want := []dedup.Verdict{dedup.Duplicate, dedup.Fresh, dedup.Unknown, dedup.Duplicate, dedup.InFlight}
	for i, c := range cs {
		if c.Verdict != want[i] {
			t.Errorf("key %d is %v, want %v", i, c.Verdict, want[i])
		}
	}
	if at := dedup.IndexesOf(err, dedup.ErrKeyInvalid); !slices.Equal(at, []int{2}) {
		t.Errorf("the error names the keys %v: %v", at, err)
	}
	if behind.asked != 3 {
		t.Errorf("the store was asked for %d keys, want the 3 that are not known", behind.asked)
	}
}

// TestEntriesEndFirst: by either clock, before the store forgets the mark.
func TestEntriesEndFirst(t *testing.T) {
	g, behind, clock := layered(t, Options{Window: time.Hour})
	mark(t, g, "k")
	asks := func() bool {
		t.Helper()
		before := behind.asked
		claim(t, g, "k", dedup.Duplicate)
		return behind.asked > before
	}
	clock.advance(time.Hour - margin - 1)
	if asks() {
		t.Error("asked before the entry ends")
	}
	at := g.cache.now()
	for name, now := range map[string]moment{
		"the wall clock is set back":    {at.wall.Add(-time.Hour), at.mono + 1},
		"the machine slept":             {at.wall.Add(1), at.mono - time.Hour},
		"both have come there, exactly": {at.wall.Add(1), at.mono + 1},
	} {
		if _, ok := g.cache.get([]byte("k"), now); ok {
			t.Errorf("the entry has not ended: %s", name)
		}
	}
}

// TestUncertainCommits teach nothing.
func TestUncertainCommits(t *testing.T) {
	g, behind, _ := layered(t, Options{Window: time.Hour})
	known := func(key string) bool {
		_, ok := g.cache.get([]byte(key), g.cache.now())
		return ok
	}
	c := claim(t, g, "failed", dedup.Fresh)
	behind.fails = errors.New("the connection broke")
	if err := g.Commit(ctx, c); err == nil || known("failed") {
		t.Errorf("after a commit with the error %v its key is known: %v", err, known("failed"))
	}
	behind.fails = nil

	held, lost := claim(t, g, "held", dedup.Fresh), claim(t, g, "lost", dedup.Fresh)
	if err := g.Release(ctx, lost); err != nil {
		t.Fatal(err)
	}
	err := g.Commit(ctx, lost, held)
	if !errors.Is(err, dedup.ErrLeaseLost) || known("lost") || !known("held") {
		t.Errorf("after a commit with the error %v: lost is known: %v, held: %v", err, known("lost"), known("held"))
	}
	if known("never") || known("k") {
		t.Error("a key is known that nobody marked")
	}
}

// TestForget takes a key out, here and only here.
func TestForget(t *testing.T) {
	g, behind, _ := layered(t, Options{Window: time.Hour})
	mark(t, g, "k")
	g.Forget([]byte("k"))
	behind.asked = 0
	claim(t, g, "k", dedup.Duplicate)
	if behind.asked != 1 {
		t.Errorf("the store was asked %d times for a key that the layer forgot", behind.asked)
	}
}

// TestBounds: neither more entries nor more bytes than allowed, and the latest stay.
func TestBounds(t *testing.T) {
	for _, o := range []Options{{Entries: 2}, {Entries: 1000}, {Entries: 100_000}, {Bytes: 100_000}, {Entries: 5000, Bytes: 300_000}} {
		g, err := New(&counted{}, o)
		if err != nil {
			t.Fatal(err)
		}
		now := g.cache.now()
		keyOf := func(i int) []byte { return fmt.Append(bytes.Repeat([]byte("p"), i%40), i) }
		for i := range 200_000 {
			g.cache.put(keyOf(i), now, time.Hour)
			if i%1000 == 0 || i == 199_999 {
				s := g.Stats()
				if o.Entries > 0 && s.Entries > o.Entries || o.Bytes > 0 && s.Bytes > o.Bytes {
					t.Fatalf("%+v holds %d entries of %d bytes", o, s.Entries, s.Bytes)
				}
				if _, ok := g.cache.get(keyOf(i), now); !ok {
					t.Fatalf("%+v doesn't know the last key", o)
				}
			}
		}
	}
}

// TestWholeKeys: keys that have all but one byte in common.
func TestWholeKeys(t *testing.T) {
	g, _, _ := layered(t, Options{Window: time.Hour})
	for _, key := range []string{"k", "K", "k ", "k\x00", "kk", string(bytes.Repeat([]byte("k"), 300)), string(bytes.Repeat([]byte("k"), 301))} {
		mark(t, g, key)
	}
}

func TestBadOptions(t *testing.T) {
	if _, err := New(nil, Options{Window: -1, Entries: 1, Bytes: -1}); err == nil {
		t.Error("New took them")
	}
}
