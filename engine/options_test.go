package engine

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
)

var optionSets = flag.Int("model.options", 60, "how many sets of options TestModelOptions and TestAnyOptions try")

// TestModelOptions is the model test with options that change at each opening, after
// kills too: what they can't be changed to is refused, and the directory opens as before.
func TestModelOptions(t *testing.T) {
	const sets = 12 // a seed, about
	for seed := range uint64(max(1, *optionSets/sets)) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 21))
			clock := newFakeClock()
			m := &model{t: t, rng: rng, dir: memoryDir(t, 64<<20), clock: clock, restarts: 20,
				marked: map[string]int64{}, gone: map[string]int64{}, held: map[string]heldClaim{}, kept: map[string]string{}}
			m.opts = config{Options: Options{Sync: SyncNone, MinFreeDisk: -1, Now: clock.now}, hooks: hooks{tableKeys: 40 + rng.IntN(400), ringBytes: 256 << 10, workEvery: 2 * time.Millisecond}}
			m.vary = func() {
				o := &m.opts
				o.Window = []time.Duration{time.Hour, time.Hour, 30 * time.Minute, 3 * time.Hour}[rng.IntN(4)]
				o.Generations, o.Lease = 3+rng.IntN(6), time.Duration(1+rng.IntN(30))*time.Minute
				o.Capacity, o.KeyBytes = uint64(1+rng.IntN(5000)), rng.IntN(300)
				o.BitsPerKey, o.Filter = 8+float64(rng.IntN(20)), bloom.Kind(rng.IntN(2))
				o.Sync, o.SyncEvery = Sync(rng.IntN(3)), time.Duration(rng.IntN(100))*time.Millisecond
				o.MemoryBudget, o.OnGap = int64(rng.IntN(2))*minMemory, OnGap(rng.IntN(2))
				o.tableKeys, o.lastFlush = 40+rng.IntN(400), uint64(1+rng.IntN(400))
				if rng.IntN(10) == 0 {
					any := config{Options: anyOptions(rng)}
					any.Window, any.Capacity, any.MinFreeDisk, any.Now = o.Window, o.Capacity, -1, clock.now
					any.tableKeys, any.ringBytes, any.workEvery = o.tableKeys, o.ringBytes, o.workEvery
					m.opts = any
				}
				o.Generations, o.Lease = orDefault(o.Generations, 8), orDefault(o.Lease, time.Minute)
			}
			m.vary()
			for m.opts.Mode, m.opts.Window = Exact, time.Hour; ; m.vary() {
				if _, err := m.opts.withDefaults(); err == nil && m.opts.Mode == Exact {
					break
				}
			}
			m.open()
			m.opts = m.e.opts
			m.setWindow()
			for range 50 * sets {
				m.step()
			}
			if err := m.e.Close(); err != nil {
				m.fatalf("close: %v", err)
			}
			t.Logf("%d restarts, %d sets of options refused", m.restarted, m.refused)
		})
	}
}

// TestOptionsKill opens directories with other options that were killed when the journal
// began generations that no manifest knows of yet, and when it did: no key that is younger
// than both windows is forgotten, or the options are refused and the old ones serve.
func TestOptionsKill(t *testing.T) {
	for generations := 3; generations <= 8; generations++ {
		for _, unknown := range []int{1, 3} {
			marks := 2 // of a young directory: its manifest has two generations at most
			if unknown == 1 {
				marks = 4 * generations
			}
			t.Run(fmt.Sprintf("generations=%d/unknown=%d", generations, unknown), func(t *testing.T) {
				t.Parallel()
				killedWith(t, generations, marks, unknown)
			})
		}
	}
}

func killedWith(t *testing.T, generations, marks, unknown int) {
	clock, fsys := newFakeClock(), newHookFS("MANIFEST.tmp")
	o := testOptions(clock)
	o.Generations, o.Sync, o.ringBytes, o.fs, o.tableKeys = generations, SyncNone, 64<<10, fsys, 50
	dir := memoryDir(t, 64<<20)
	e := mustOpen(t, dir, o)
	at := map[int]int64{}
	mark := func() {
		clock.advance(o.Window/time.Duration(generations-1)/2 + time.Second)
		n := len(at)
		admitAll(t, e, intKeys(n, 1), dedup.Fresh)
		at[n] = e.clock.read()
	}
	for range marks {
		mark()
	}
	eventually(t, "the manifest knows all", func() bool {
		promised := e.promisedGenerations()
		return promised[len(promised)-1].number == e.window.live() && e.set.Sizes().Sealed == 0
	})
	// What that manifest no longer names is removed before the directory is copied.
	if err := e.worker.do(ctx, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	goOn := make(chan struct{})
	goOnce := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(goOnce) // Close waits for what is held
	fsys.set(func(string) error {
		<-goOn
		return nil
	})
	for first := e.window.live(); e.window.live() < first+uint64(unknown); {
		mark()
	}
	mark()
	if err := e.journal.Sync(); err != nil {
		t.Fatal(err)
	}
	killed := copyHoles(t, dir)
	goOnce()
	mustClose(t, e)
	o.fs = nil
	for g := 3; g <= 8; g++ {
		now := o
		now.Generations, now.Window = g, []time.Duration{o.Window, o.Window / 3, 2 * o.Window}[(g+generations+unknown)%3]
		checkKilled(t, copyHoles(t, killed), o, now, at)
	}
}

// copyHoles is copyDir for many copies, where the system has a cp that passes over holes.
func copyHoles(t *testing.T, from string) string {
	to := memoryDir(t, 64<<20)
	if exec.Command("cp", "-R", "--sparse=always", from+"/.", to).Run() != nil {
		return copyDir(t, from)
	}
	return to
}

func checkKilled(t *testing.T, dir string, before, now config, at map[int]int64) {
	e, err := openWith(dir, now)
	if errors.Is(err, dedup.ErrIncompatible) && now.Generations < before.Generations {
		e, err = openWith(dir, before)
	}
	if err != nil {
		t.Errorf("%d generations of %v: %v", now.Generations, now.Window, err)
		return
	}
	defer e.Close()
	for i, marked := range at {
		age := time.Duration(e.clock.read() - marked)
		if found, err := e.Contains(ctx, intKey(i)); err != nil || !found && age < min(before.Window, now.Window) {
			t.Errorf("%d generations of %v, opened as %d of %v: a key of %v ago is forgotten (%v)",
				before.Generations, before.Window, now.Generations, now.Window, age, err)
		}
	}
}

// TestAnyOptions: any values give an error that leaves nothing behind, or an engine that
// works.
func TestAnyOptions(t *testing.T) {
	for seed := range uint64(*optionSets) {
		tryOptions(t, seed, anyOptions(rand.New(rand.NewPCG(seed, 22))))
	}
}

// FuzzOptions is TestAnyOptions with the seeds that a fuzzer finds, and any values of
// what takes any.
func FuzzOptions(f *testing.F) {
	f.Add(uint64(0), int64(time.Hour), uint64(0), 0, 0.0, int64(0), int64(0))
	f.Fuzz(func(t *testing.T, seed uint64, window int64, capacity uint64, generations int, bitsPerKey float64, lease, budget int64) {
		o := anyOptions(rand.New(rand.NewPCG(seed, 22)))
		o.Window, o.Generations, o.BitsPerKey, o.Lease, o.MemoryBudget = time.Duration(window), generations, bitsPerKey, time.Duration(lease), budget
		if o.Capacity = capacity; capacity > 1e6 && capacity < maxCapacity {
			o.Capacity %= 1e6
		}
		tryOptions(t, seed, o)
	})
}

func tryOptions(t *testing.T, seed uint64, o Options) {
	t.Helper()
	clock := newFakeClock()
	o.Now = clock.now
	if o.MinFreeDisk > 0 {
		o.MinFreeDisk = -1
	}
	dir := filepath.Join(memoryDir(t, 256<<20), "seen")
	defer func() { _ = os.RemoveAll(dir) }()
	opened := make(chan error, 1)
	var e *Engine
	go func() {
		var err error
		e, err = Open(dir, o)
		opened <- err
	}()
	if err := receive(t, fmt.Sprintf("seed %d: an answer to %+v", seed, o), opened); err != nil {
		if _, serr := os.Stat(dir); !strings.Contains(err.Error(), "bad options") || !errors.Is(serr, os.ErrNotExist) {
			t.Fatalf("seed %d: %+v: %v (%v)", seed, o, err, serr)
		}
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- useOnce(e, clock) }()
	if err := receive(t, fmt.Sprintf("seed %d: an engine with %+v has answered", seed, o), ended); err != nil {
		t.Fatalf("seed %d: %+v: %v", seed, o, err)
	}
}

// useOnce does a little of everything and closes the engine.
func useOnce(e *Engine, clock *fakeClock) error {
	keys := intKeys(0, 300)
	f := func(want dedup.Verdict) error {
		vs, err := e.AdmitBatch(ctx, nil, keys)
		for i, v := range vs {
			if v != want && err == nil && !(e.opts.Mode == Approximate && want == dedup.Fresh) {
				err = fmt.Errorf("key %d is %v, want %v", i, v, want)
			}
		}
		return err
	}
	if err := errors.Join(f(dedup.Fresh), f(dedup.Duplicate)); err != nil {
		return err
	}
	clock.advance(e.opts.Window / 2)
	if err := f(dedup.Duplicate); err != nil {
		return err
	}
	c, err := e.Claim(ctx, []byte("claimed"))
	if err == nil && c.Verdict == dedup.Fresh {
		err = e.Commit(ctx, c)
	}
	return errors.Join(err, e.Close())
}
