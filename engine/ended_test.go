package engine

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// endings are the calls that end or extend a claim.
var endings = map[string]func(ctx context.Context, e *Engine, cs []dedup.Claim) error{
	"commit":  func(ctx context.Context, e *Engine, cs []dedup.Claim) error { return e.Commit(ctx, cs...) },
	"release": func(ctx context.Context, e *Engine, cs []dedup.Claim) error { return e.Release(ctx, cs...) },
	"extend": func(ctx context.Context, e *Engine, cs []dedup.Claim) error {
		for i := range cs {
			var err error
			if cs[i], err = e.Extend(ctx, cs[i], time.Hour); err != nil {
				return err
			}
		}
		return nil
	},
}

// TestEndedContext: a client that hung up does not keep its claim from being ended,
// whatever the call finds on its way that needs no waiting.
func TestEndedContext(t *testing.T) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for _, mode := range []Mode{Exact, Approximate} {
		for name, end := range endings {
			for _, before := range []struct {
				name string
				do   func(s *suspended)
			}{
				{"nothing", func(*suspended) {}},
				{"a generation is over", func(s *suspended) { s.pass(3*time.Hour, false) }},
				{"a window is over", func(s *suspended) { s.pass(9*time.Hour, false) }},
				{"the machine was suspended", func(s *suspended) { s.pass(time.Hour, true) }},
			} {
				t.Run(mode.String()+"/"+name+"/"+before.name, func(t *testing.T) {
					s := &suspended{wall: newFakeClock()}
					o := testOptions(s.wall)
					o.Mode, o.Lease = mode, 100*time.Hour
					o.passed = func() time.Duration { return time.Duration(s.mono.Load()) }
					e := mustOpen(t, t.TempDir(), o)
					keys := intKeys(0, 5000) // more than a part
					if mode == Approximate {
						keys = keys[:10] // of which none is fresh and called a duplicate
					}
					cs, err := e.ClaimBatch(ctx, nil, keys)
					if err != nil {
						t.Fatal(err)
					}
					before.do(s)
					if err := end(ended, e, cs); err != nil {
						t.Fatal(err)
					}
					want := map[string]dedup.Verdict{"commit": dedup.Duplicate, "release": dedup.Fresh, "extend": dedup.InFlight}[name]
					admitAll(t, e, keys, want)
				})
			}
		}
	}
}

// TestEndedContextWaits: where a commit has to wait for room, an ended context stops it,
// and the claim stands.
func TestEndedContextWaits(t *testing.T) {
	o, fsys := testOptions(newFakeClock()), newHookFS("MANIFEST.tmp")
	o.fs, o.ringBytes = fsys, 64<<10
	e := mustOpen(t, t.TempDir(), o)
	c := mustClaim(t, e, []byte("claimed"), dedup.Fresh)
	release := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(release) })
	defer goOn()
	fsys.set(func(string) error { // no manifest, no room
		<-release
		return nil
	})
	full, cancel := context.WithCancel(ctx)
	marked := make(chan error, 1)
	go func() {
		for i := 0; ; i += 100 {
			if _, err := e.AdmitBatch(full, nil, intKeys(i, 100)); err != nil {
				marked <- err
				return
			}
		}
	}()
	eventually(t, "a call waits for room", func() bool { return e.counts.roomWaits.Load() > 0 })
	cancel()
	if err := receive(t, "the marks end", marked); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	room, taken := e.claimSpace(1), 0
	for ; e.journal.Reserve(canceled, room) == nil; taken += room {
	}
	if err := e.Commit(full, c); !errors.Is(err, context.Canceled) {
		t.Errorf("a commit that has to wait: %v", err)
	}
	e.journal.Unreserve(taken)
	goOn()
	if v, err := e.Admit(ctx, c.Key); v != dedup.InFlight || err != nil {
		t.Errorf("afterwards the key is %v, %v", v, err)
	}
	if err := e.Commit(ctx, c); err != nil {
		t.Error(err)
	}
}
