package engine

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// A helpedCall is a batch whose only helper is the test, and whose caller waits with
// its own part of the confirms for letCaller.
type helpedCall struct {
	*sharedBatch
	store     *store
	letCaller func()
	done      chan error
	vs        []dedup.Verdict
}

// admitHelped admits keys, all of them in runs, and returns when everything is offered.
func admitHelped(t *testing.T, e *Engine, keys [][]byte) *helpedCall {
	t.Helper()
	c := &helpedCall{store: e.store, done: make(chan error, 1)}
	c.store.help = make(chan *sharedBatch, helpers) // the helpers listen at the old one
	confirming, caller := make(chan struct{}), make(chan struct{})
	c.letCaller = sync.OnceFunc(func() { close(caller) })
	t.Cleanup(c.letCaller)
	reached := sync.OnceFunc(func() { close(confirming) })
	c.store.lookups = sync.Pool{New: func() any {
		reached()
		<-caller
		return new(lookup)
	}}
	go func() {
		vs, err := e.AdmitBatch(ctx, nil, keys)
		c.vs = vs
		c.done <- err
	}()
	c.sharedBatch = receive(t, "an offer", c.store.help)
	receive(t, "the caller is about to confirm", confirming)
	return c
}

// allDuplicate ends the call, with nothing but duplicates.
func (c *helpedCall) allDuplicate(t *testing.T) {
	t.Helper()
	c.letCaller()
	if err := receive(t, "the answer", c.done); err != nil {
		t.Fatal(err)
	}
	for i, v := range c.vs {
		if v != dedup.Duplicate {
			t.Fatalf("key %d: %v, want duplicate", i, v)
		}
	}
}

// TestHelp: a helper confirms all, some or nothing of a batch, and comes too late, and
// the answers are the same.
func TestHelp(t *testing.T) {
	const n = 500
	keys := intKeys(0, n)
	e := mustOpen(t, t.TempDir(), testOptions(nil))
	admitAll(t, e, keys, dedup.Fresh)
	flushAll(t, e)
	was := e.Stats().Lookups
	for name, pieces := range map[string]int{"all": n, "some": 2, "nothing": 0} {
		t.Run(name, func(t *testing.T) {
			c := admitHelped(t, e, keys)
			if !c.enter() {
				t.Fatal("the batch is not shared")
			}
			before := c.taken.Load()
			l := new(lookup)
			for i := 0; i < pieces && c.store.helpPiece(l, c.sharedBatch); i++ {
			}
			c.waited.Add(7)
			took := uint64(c.taken.Load() - before)
			if pieces == n && took != n {
				t.Errorf("took %d keys, want all %d", took, n)
			}
			c.letCaller()
			select {
			case <-c.done:
				t.Fatal("the call ended with a helper inside")
			case <-time.After(20 * time.Millisecond):
			}
			c.leave()
			c.allDuplicate(t)
			now := e.Stats().Lookups
			if helped, asked, confirmed := now.Helped-was.Helped, now.RunsAsked-was.RunsAsked, now.Confirmed-was.Confirmed; helped != took || asked != n || confirmed != n {
				t.Errorf("%d helped, %d runs asked, %d confirmed; want %d, %d, %d", helped, asked, confirmed, took, n, n)
			}
			if waited := now.DiskWait - was.DiskWait; waited < 7 {
				t.Errorf("a helper's wait of 7 ns for the disk became %v", waited)
			}
			was = now
			if c.enter() {
				t.Error("a helper that comes late meets an open batch")
			}
		})
	}
}

// TestHelpDamage: a block that a helper finds damaged is an error of the call.
func TestHelpDamage(t *testing.T) {
	const n = 2000
	dir := t.TempDir()
	e := mustOpen(t, dir, testOptions(nil))
	admitAll(t, e, intKeys(0, n), dedup.Fresh)
	flushAll(t, e)
	for _, name := range valueLogs(t, dir) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, usedBytes(t, name)), 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_, werr := f.WriteAt(data, 0) // or Badger has something to say at the close
			if err := errors.Join(werr, f.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	c := admitHelped(t, e, intKeys(0, n))
	if !c.enter() {
		t.Fatal("the batch is not shared")
	}
	for l := new(lookup); c.store.helpPiece(l, c.sharedBatch); {
	}
	c.leave()
	c.letCaller()
	if err := receive(t, "the answer", c.done); !errors.Is(err, dedup.ErrCorrupt) {
		t.Errorf("%v, want ErrCorrupt", err)
	}
	for i, v := range c.vs {
		if v != dedup.Unknown {
			t.Fatalf("key %d: %v, want unknown", i, v)
		}
	}
}

// TestHelpers: callers whose batches are half of duplicates, while tables become runs
// and generations rotate, get right answers with the engine's own helpers at work.
func TestHelpers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // with one there are no helpers
	const callers, batch = 2, 400
	clock := newFakeClock()
	e := mustOpen(t, t.TempDir(), testOptions(clock))
	ask := func(caller int, rng *rand.Rand, round int) {
		base := caller << 40
		var keys [][]byte
		for i := range batch / 2 { // a new one, and one of some round before or of this
			keys = append(keys, intKey(base+round*batch/2+i), intKey(base+rng.IntN(max(1, round*batch/2))))
		}
		vs, err := e.AdmitBatch(ctx, nil, keys)
		if err != nil {
			t.Error(err)
			return
		}
		for i, v := range vs {
			if want := [2]dedup.Verdict{dedup.Fresh, dedup.Duplicate}[i%2]; v != want {
				t.Errorf("caller %d, round %d, key %d: %v, want %v", caller, round, i, v, want)
				return
			}
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for round := 0; round < 40 || e.Stats().Lookups.Helped == 0; round++ {
		if time.Now().After(deadline) {
			t.Fatal("no helper has helped")
		}
		var calls sync.WaitGroup
		for caller := range callers {
			calls.Go(func() { ask(caller, rand.New(rand.NewPCG(uint64(round), uint64(caller))), round) })
		}
		calls.Wait()
		if round%12 == 11 && round < 40 { // the window is longer than what these steps make
			clock.advance(e.opts.span())
		}
		if t.Failed() {
			return
		}
	}
}
