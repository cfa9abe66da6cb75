package local

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup/guardtest"
	"github.com/firstseen/firstseen/engine"
)

var ctx = context.Background()

const window = 8 * time.Hour

// A fakeClock is the engine's and the layer's.
type fakeClock struct {
	sync.Mutex
	t time.Time
}

func newClock() *fakeClock { return &fakeClock{t: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)} }

func (c *fakeClock) now() time.Time {
	c.Lock()
	defer c.Unlock()
	return c.t
}

func (c *fakeClock) advance(d time.Duration) {
	c.Lock()
	defer c.Unlock()
	c.t = c.t.Add(d)
}

func (c *fakeClock) moment() moment {
	now := c.now()
	return moment{wall: now, mono: time.Duration(now.UnixNano())}
}

// TestGuard: the conformance kit, with and without what commits teach.
func TestGuard(t *testing.T) {
	for _, learns := range []time.Duration{0, window} {
		t.Run(fmt.Sprint("window=", learns), func(t *testing.T) {
			guardtest.Run(t, guardtest.Config{
				New: func(t testing.TB, lease time.Duration) guardtest.Subject {
					return subject(t, t.TempDir(), learns, lease)
				},
				Window: window, Forgotten: window + window/4,
			})
		})
	}
}

func subject(t testing.TB, dir string, learns, lease time.Duration) guardtest.Subject {
	t.Helper()
	clock := newClock()
	e, err := engine.Open(dir, engine.Options{
		Window: window, Lease: lease, Now: clock.now, Sync: engine.SyncNone, Capacity: 1000, Shards: 1, MinFreeDisk: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	g, err := New(e, Options{Window: learns})
	if err != nil {
		t.Fatal(err)
	}
	g.cache.clock = clock.moment
	return guardtest.Subject{
		Guard: g, Peer: e, Advance: clock.advance, Now: clock.now,
		Contains: e.Contains,
		Forget: func(ctx context.Context, key []byte) error {
			g.Forget(key)
			return e.Forget(ctx, key)
		},
	}
}
