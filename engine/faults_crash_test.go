package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/faultfs"
)

// scripted is a fixed run of an engine whose own files lie in a faultfs. It stays
// within those: Badger can't be put behind one, so keys are never flushed.
type scripted struct {
	p     *faultPart
	dir   string
	opts  config
	clock *fakeClock
	mu    sync.Mutex
	acked [][]byte
}

func newScripted(p *faultPart, mode Mode) *scripted {
	s := &scripted{p: p, dir: p.t.TempDir(), clock: newFakeClock()}
	// Twenty times the keys of the script: in filters that are just large enough six new
	// keys of a million are "maybe", and Approximate mode is asked for 12,000 of them.
	s.opts = config{Options: Options{
		Window:      time.Hour,
		Capacity:    5000,
		Generations: 3,
		BitsPerKey:  64,
		Shards:      1,
		Mode:        mode,
		MinFreeDisk: -1,
		Now:         s.clock.now,
	}, hooks: hooks{
		tableKeys: 10_000,
		ringBytes: 64 << 10,
	}}
	return s
}

// newFS returns a file system with the directories above the engine's.
func (s *scripted) newFS() *faultfs.FS {
	f := faultfs.New()
	above := filepath.Dir(s.dir)
	if err := f.MkdirAll(above, 0o755); err != nil {
		s.p.t.Fatal(err)
	}
	for ; above != "/"; above = filepath.Dir(above) {
		if err := f.SyncDir(above); err != nil {
			s.p.t.Fatal(err)
		}
	}
	if err := f.SyncDir("/"); err != nil {
		s.p.t.Fatal(err)
	}
	return f
}

const scriptKeys = 240

// run does the script up to the first error.
func (s *scripted) run(f *faultfs.FS) error {
	ctx := context.Background()
	s.opts.fs = f
	for round := range uint64(3) {
		e, err := openWith(s.dir, s.opts)
		if err != nil {
			return err
		}
		if err := s.round(ctx, e, round*scriptKeys/3); err != nil {
			_ = e.Close()
			return err
		}
		if round == 1 { // one end as a kill leaves it
			e.crash(s.p.t)
		} else if err := e.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (s *scripted) round(ctx context.Context, e *Engine, from uint64) error {
	for batch := range uint64(4) {
		keys := faultKeys(from+batch*20, 20)
		claims, err := e.ClaimBatch(ctx, nil, keys[:5])
		if err == nil {
			err = e.Commit(ctx, claims...)
		}
		if err == nil {
			s.ack(keys[:5])
			if _, err = e.AdmitBatch(ctx, nil, keys[5:]); err == nil {
				s.ack(keys[5:])
			}
		}
		if err != nil {
			return s.refused(ctx, e, err)
		}
		if batch == 1 {
			if err := e.Snapshot(ctx); err != nil {
				return s.refused(ctx, e, err)
			}
		}
		if batch == 2 && s.opts.Mode == Approximate {
			s.clock.advance(16 * time.Minute) // one rotation, and nothing is older than the window
		}
	}
	return nil
}

// refused checks that after a failed write nothing is accepted any more (I7).
func (s *scripted) refused(ctx context.Context, e *Engine, cause error) error {
	if errors.Is(cause, dedup.ErrFailed) {
		if v, err := e.Admit(ctx, []byte("after a failure")); !errors.Is(err, dedup.ErrFailed) || v != dedup.Unknown {
			s.p.errorf("after %v a mark gave %v, %v", cause, v, err)
		}
		s.p.count("refusals", 1)
	}
	return cause
}

func (s *scripted) ack(keys [][]byte) {
	s.mu.Lock()
	s.acked = append(s.acked, keys...)
	s.mu.Unlock()
}

// check opens what is left and looks for all that was acknowledged.
func (s *scripted) check(f *faultfs.FS, what string, acked [][]byte) {
	opts := s.opts
	opts.fs = f
	e, err := openWith(s.dir, opts)
	if err != nil {
		s.p.errorf("%s: open: %v", what, err)
		return
	}
	s.p.checkKeys(e, what, acked, faultKeys(1e9, 8))
	if err := e.Close(); err != nil {
		s.p.errorf("%s: close: %v", what, err)
	}
}

// crashState is what a power cut before one operation leaves.
type crashState struct {
	fs    *faultfs.FS
	what  string
	acked int
}

func crashEverywhere(p *faultPart, mode Mode) {
	s := newScripted(p, mode)
	f := s.newFS()
	var mu sync.Mutex
	var states []crashState
	n := 0
	f.Delay(func(op faultfs.Op) {
		mu.Lock()
		defer mu.Unlock()
		n++
		s.mu.Lock()
		acked := len(s.acked)
		s.mu.Unlock()
		for k := range 2 + faultScale(1, 20) {
			percent := [...]int{0, 100, 50}[min(k, 2)]
			what := fmt.Sprintf("%v mode, cut before operation %d (%s %s), %d %% of the unsynced kept", mode, n, op.Kind, filepath.Base(op.Name), percent)
			states = append(states, crashState{f.Crash(percent, uint64(n*100+k)), what, acked})
		}
	})
	if err := s.run(f); err != nil {
		p.fatalf("the script: %v", err)
	}
	f.Delay(nil)
	p.count("operations", n)
	for i := 0; i < len(states) && !p.done(); i++ {
		s.check(states[i].fs, states[i].what, s.acked[:states[i].acked])
		p.count("power cuts", 1)
	}
}

func TestFaultsCrashEverywhere(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		crashEverywhere(p, Exact)
		crashEverywhere(p, Approximate)
	})
}

// TestFaultsErrorEverywhere fails the n-th operation, for every n, once and from
// then on.
func TestFaultsErrorEverywhere(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		for _, mode := range []Mode{Exact, Approximate} {
			whole := newScripted(p, mode)
			f := whole.newFS()
			before := f.Ops()
			if err := whole.run(f); err != nil {
				p.fatalf("the script: %v", err)
			}
			total := f.Ops() - before
			for n := int64(1); n <= total && !p.done(); n++ {
				for _, sticky := range []bool{false, true} {
					errorAt(p, mode, n, sticky)
				}
			}
		}
	})
}

func errorAt(p *faultPart, mode Mode, n int64, sticky bool) {
	s := newScripted(p, mode)
	f := s.newFS()
	f.FailAt(n, syscall.EIO, sticky)
	err := s.run(f)
	f.FailAt(0, nil, false)
	p.count("errors injected", 1)
	if err != nil {
		p.count("errors told to a caller", 1)
	}
	what := fmt.Sprintf("%v mode, error at operation %d, sticky %v (%v)", mode, n, sticky, err)
	s.check(f.Crash(0, 1), what+", then a power cut", s.acked)
	s.check(f, what, s.acked)
}
