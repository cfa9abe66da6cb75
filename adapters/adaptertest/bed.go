package adaptertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// A bed is what one case stands on.
type bed struct {
	testing.TB
	Config
	address, dir string
	lease        time.Duration

	guard *switched // opened with the first consumer
	close func() error
	stops []func() // of consumers, asked again at the end

	children int // processes started so far

	mu struct {
		sync.Mutex
		begun, effects, active map[string]int
		most                   int // handlers that worked on one key at once
	}
}

// A switched guard fails while it is off.
type switched struct {
	dedup.Guard
	mu  sync.Mutex
	off bool
}

var errOff = errors.New("adaptertest: the store is down")

func (s *switched) set(off bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = off
}

func (s *switched) down() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off {
		return errOff
	}
	return nil
}

func (s *switched) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	if err := s.down(); err != nil {
		return dedup.Claim{Key: key}, err
	}
	return s.Guard.Claim(ctx, key)
}

func (s *switched) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	if err := s.down(); err != nil {
		for _, key := range keys {
			cs = append(cs, dedup.Claim{Key: key})
		}
		return cs, err
	}
	return s.Guard.ClaimBatch(ctx, cs, keys)
}

func (s *switched) Commit(ctx context.Context, claims ...dedup.Claim) error {
	if err := s.down(); err != nil {
		return err
	}
	return s.Guard.Commit(ctx, claims...)
}

func (s *switched) Release(ctx context.Context, claims ...dedup.Claim) error {
	if err := s.down(); err != nil {
		return err
	}
	return s.Guard.Release(ctx, claims...)
}

// start starts a consumer whose handler calls f between noting that it began and
// noting the effect, and returns what stops it and waits.
func (b *bed) start(f func(ctx context.Context, key string) error) (stop func()) {
	b.Helper()
	if b.guard == nil {
		if err := os.MkdirAll(b.guardDir(), 0o700); err != nil {
			b.Fatal(err)
		}
		g, closeGuard, err := b.Guard(b.guardDir(), b.lease)
		if err != nil {
			b.Fatalf("opening the guard: %v", err)
		}
		b.guard, b.close = &switched{Guard: g}, closeGuard
		b.mu.begun, b.mu.effects, b.mu.active = map[string]int{}, map[string]int{}, map[string]int{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	session := Session{Address: b.address, Guard: b.guard, Handle: func(ctx context.Context, key string) error {
		defer b.begin(key)()
		if err := f(ctx, key); err != nil {
			return err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.mu.effects[key]++
		return nil
	}}
	go func() { done <- b.Consume(ctx, session) }() // ends with stop
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, context.Canceled) {
				b.Errorf("Consume: %v", err)
			}
		case <-time.After(b.Patience):
			b.Errorf("Consume did not return within %v after its context had ended", b.Patience)
		}
	})
	b.stops = append(b.stops, stop)
	return stop
}

// begin notes that a handler works on key, until the function it returns is called.
func (b *bed) begin(key string) (end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.begun[key]++
	b.mu.active[key]++
	b.mu.most = max(b.mu.most, b.mu.active[key])
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.mu.active[key]--
	}
}

// end stops what still runs and closes the guard.
func (b *bed) end() {
	for _, stop := range b.stops {
		stop()
	}
	if b.close != nil {
		if err := b.close(); err != nil {
			b.Errorf("closing the guard: %v", err)
		}
	}
}

// until polls for a condition.
func (b *bed) until(what string, ok func() bool) {
	b.Helper()
	giveUp := time.Now().Add(b.Patience)
	for !ok() {
		if time.Now().After(giveUp) {
			b.Fatalf("waited %v for this in vain: %s; effects so far: %s", b.Patience, what, b.told())
		}
		<-time.After(pollEvery)
	}
}

// pollEvery is how often a condition is looked at.
const pollEvery = 5 * time.Millisecond

func (b *bed) guardDir() string { return filepath.Join(b.dir, "guard") }

func (b *bed) told() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("%d of %d keys that handlers began with", len(b.mu.effects), len(b.mu.begun))
}

func (b *bed) begunOf(key string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.begun[key]
}

func (b *bed) effectsOf() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.mu.effects)
}

// wantOnce waits until every key has had its effect and the topic is drained, and
// wants no effect twice.
func (b *bed) wantOnce(keys []string) {
	b.Helper()
	b.until("every key's effect", func() bool {
		got := b.effectsOf()
		return !slices.ContainsFunc(keys, func(key string) bool { return got[key] == 0 })
	})
	b.drain()
	got := b.effectsOf()
	for _, key := range keys {
		if got[key] != 1 {
			b.Fatalf("the effect of %q happened %d times, want once", key, got[key])
		}
	}
}

// drain waits until the broker has nothing left to deliver.
func (b *bed) drain() {
	b.Helper()
	if b.Drained == nil {
		<-time.After(b.Quiet)
		return
	}
	b.until("a drained topic", func() bool {
		drained, err := b.Drained(b.address)
		if err != nil {
			b.Fatalf("Drained: %v", err)
		}
		return drained
	})
}

func keysOf(prefix string, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s-%06d", prefix, i)
	}
	return keys
}
