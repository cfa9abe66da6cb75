package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

var (
	modelSeed  = flag.Uint64("model.seed", 0, "replay one seed of TestModel")
	modelSeeds = flag.Int("model.seeds", 60, "how many seeds TestModel runs")
	modelOps   = flag.Int("model.ops", 600, "how many operations a seed does")
)

// fakeClock is a wall clock that tests move.
type fakeClock struct{ ns atomic.Int64 }

func newFakeClock() *fakeClock {
	c := &fakeClock{}
	c.ns.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *fakeClock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *fakeClock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// crash ends an engine as a kill does: nothing more is written.
func (e *Engine) crash(t testing.TB) {
	t.Helper()
	e.gate.Lock()
	e.gate.closed.Store(true)
	e.gate.Unlock()
	e.stopNow()
	e.running.Wait()
	if err := errors.Join(e.journal.Close(false), e.store.close(), e.results.close(), e.lock.Unlock()); err != nil && e.failure.Load() == nil {
		t.Fatal(err)
	}
	e.set.Close()
}

// model is the deliberately dumb twin: a map from key to the time of its mark.
type model struct {
	t      *testing.T
	rng    *rand.Rand
	dir    string
	opts   config
	clock  *fakeClock
	e      *Engine
	marked map[string]int64
	gone   map[string]int64  // keys seen to be out of the window since the last restart, and when they were marked
	kept   map[string]string // results of keys that are marked, or were
	held   map[string]heldClaim
	stale  []dedup.Claim
	log    []string

	vary        func()        // changes opts, before an opening
	least, most time.Duration // the shortest window so far; what no key is remembered beyond
	refused     int

	restarts  int   // of a thousand operations: long lives show other things than short ones
	restarted int64 // how often it was
}

type heldClaim struct {
	claim   dedup.Claim
	expires int64
}

func (m *model) key() []byte {
	n := m.rng.Uint64N(400)
	switch n % 7 {
	case 0, 1:
		k := make([]byte, 16)
		binary.LittleEndian.PutUint64(k, n)
		return k
	case 2:
		return fmt.Appendf(nil, "%08x-0000-4000-8000-%012x", n, n)
	case 3:
		return fmt.Appendf(nil, "01ARZ3NDEKTSV4RRFFQ69G%04d", n)
	case 4:
		return fmt.Appendf(nil, "%d", n)
	case 5:
		return []byte(strings.Repeat(fmt.Sprintf("%05d", n), 51))
	}
	return []byte(strings.Repeat(fmt.Sprint(n), 200))
}

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	if m.e != nil {
		m.t.Logf("clock %d, generations %+v, due at %d", m.e.clock.read(), m.e.window.held(), m.e.window.dueAt.Load())
	}
	for _, line := range m.log[max(0, len(m.log)-30):] {
		m.t.Log(line)
	}
	m.t.Fatalf(format, args...)
}

func (m *model) notef(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

// may returns the verdicts that are right for a key that is looked at now.
func (m *model) may(key string, now int64) (fresh, duplicate bool) {
	at, ok := m.marked[key]
	if !ok {
		return true, false
	}
	age := now - at
	if m.vary != nil {
		return age >= int64(m.least), age < int64(m.most)
	}
	return age >= int64(m.opts.Window), age < int64(m.opts.Window+m.opts.Window/time.Duration(m.opts.Generations-1))+1
}

// goneNow notes that a key was seen to be out of the window. It is so for good,
// but a crash may take back the time that only was looked at: nothing that was
// written rests on it.
func (m *model) goneNow(key string) {
	if at, ok := m.marked[key]; ok {
		m.gone[key] = at
		delete(m.marked, key)
	}
}

func (m *model) inFlight(key string, now int64) bool {
	h, ok := m.held[key]
	if ok && h.expires <= now {
		delete(m.held, key)
		m.stale = append(m.stale, h.claim)
		return false
	}
	return ok
}

func (m *model) check(what string, i int, key string, v dedup.Verdict, now int64) {
	m.t.Helper()
	if m.inFlight(key, now) {
		if v != dedup.InFlight {
			m.fatalf("%s, key %d %.40q: %v, it is claimed", what, i, key, v)
		}
		return
	}
	fresh, dup := m.may(key, now)
	if v == dedup.Fresh && fresh || v == dedup.Duplicate && dup {
		return
	}
	m.fatalf("%s, key %d %.40q: %v; marked %v ago, window %v, %d generations", what, i, key, v,
		time.Duration(now-m.marked[key]), m.opts.Window, m.opts.Generations)
}

func (m *model) keys(n int) [][]byte {
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = m.key()
	}
	return keys
}

func (m *model) open() {
	m.t.Helper()
	var err error
	if m.e, err = openWith(m.dir, m.opts); err != nil {
		m.fatalf("open: %v", err)
	}
}

func (m *model) step() {
	ctx := context.Background()
	now := m.e.clock.read()
	if m.rng.IntN(1000) < m.restarts {
		m.restartSomehow()
		return
	}
	switch op := m.rng.IntN(95); {
	case op < 40:
		keys := m.keys(1 + m.rng.IntN(60))
		m.notef("admit %d", len(keys))
		vs, err := m.e.AdmitBatch(ctx, nil, keys)
		if err != nil {
			m.fatalf("admit: %v", err)
		}
		for i, v := range vs {
			m.check("admit", i, string(keys[i]), v, now)
			if v == dedup.Fresh || v == dedup.Duplicate && m.opts.Refresh {
				m.marked[string(keys[i])] = now
				delete(m.kept, string(keys[i]))
			}
		}
	case op < 55:
		m.claim(ctx, now)
	case op < 65:
		m.endClaims(ctx, now)
	case op < 68:
		m.staleClaims(ctx)
	case op < 76:
		key := m.key()
		m.notef("contains %.20q", key)
		ok, err := m.e.Contains(ctx, key)
		if err != nil {
			m.fatalf("contains: %v", err)
		}
		if fresh, dup := m.may(string(key), now); ok && !dup || !ok && !fresh {
			m.fatalf("contains %.40q: %v", key, ok)
		}
		if !ok {
			m.goneNow(string(key))
		}
	case op < 80:
		key := m.key()
		m.notef("forget %.20q", key)
		if err := m.e.Forget(ctx, key); err != nil {
			m.fatalf("forget: %v", err)
		}
		delete(m.marked, string(key))
		delete(m.gone, string(key))
		delete(m.kept, string(key))
	case op < 90:
		d := time.Duration(m.rng.Int64N(int64(m.opts.Window) / 5))
		switch m.rng.IntN(12) {
		case 0:
			d = -d
		case 1:
			d *= 12
		case 2:
			d *= 100
		}
		m.notef("clock %v", d)
		m.clock.advance(d)
	case op < 93:
		m.notef("snapshot")
		if err := m.e.Snapshot(ctx); err != nil {
			m.fatalf("snapshot: %v", err)
		}
	default:
		m.notef("flush")
		m.e.set.Seal(^uint64(0))
	}
}

func (m *model) restartSomehow() {
	m.restarted++
	if m.rng.IntN(5) < 2 {
		m.restart(func() {
			m.notef("close")
			if err := m.e.Close(); err != nil {
				m.fatalf("close: %v", err)
			}
		})
		return
	}
	m.restart(func() {
		m.notef("crash")
		m.e.crash(m.t)
		for key, at := range m.gone {
			if _, again := m.marked[key]; !again {
				m.marked[key] = at
			}
		}
	})
}

// restart ends the engine; claims live in memory only.
func (m *model) restart(end func()) {
	end()
	clear(m.gone)
	for _, h := range m.held {
		m.stale = append(m.stale, h.claim)
	}
	m.held = map[string]heldClaim{}
	if m.vary == nil {
		m.open()
		return
	}
	before := m.opts
	m.vary()
	e, err := openWith(m.dir, m.opts)
	if errors.Is(err, dedup.ErrIncompatible) || err != nil && strings.Contains(err.Error(), "bad options") {
		m.notef("refused: %v", err)
		m.refused++
		m.opts = before
		m.open()
		return
	}
	if err != nil {
		m.fatalf("open with other options: %v", err)
	}
	m.e = e
	m.setWindow()
}

// setWindow notes what the options promise: after a change a key may be remembered as
// long as the longest window let it, and a generation may have to last until the window
// has room for the next one.
func (m *model) setWindow() {
	m.notef("window %v, %d generations", m.opts.Window, m.opts.Generations)
	if m.least == 0 {
		m.least = m.opts.Window
	}
	m.least, m.most = min(m.least, m.opts.Window), max(m.most, 4*m.opts.Window)
}

func (m *model) claim(ctx context.Context, now int64) {
	keys := m.keys(1 + m.rng.IntN(20))
	m.notef("claim %d", len(keys))
	cs, err := m.e.ClaimBatch(ctx, nil, keys)
	tooLarge := dedup.IndexesOf(err, dedup.ErrResultTooLarge)
	if err != nil && (len(tooLarge) == 0 || errors.Is(err, dedup.ErrResultLost)) {
		m.fatalf("claim: %v", err)
	}
	for i, c := range cs {
		key := string(keys[i])
		m.check("claim", i, key, c.Verdict, now)
		if c.Verdict == dedup.Duplicate && m.opts.Refresh {
			m.marked[key] = now
		}
		want := ""
		if c.Verdict == dedup.Duplicate {
			want = m.kept[key]
		}
		if large := len(want) > m.opts.MaxResult; large != slices.Contains(tooLarge, i) || !large && string(c.Result) != want || large && c.Result != nil {
			m.fatalf("claim, key %d %.40q: the result is %.40q, %v, want %.40q; MaxResult is %d", i, key, c.Result, err, want, m.opts.MaxResult)
		}
		if c.Verdict == dedup.Fresh {
			m.goneNow(key)
			m.held[key] = heldClaim{c, now + int64(m.opts.Lease)}
		}
	}
}

func (m *model) endClaims(ctx context.Context, now int64) {
	for key, h := range m.held {
		var err error
		ended := true
		switch m.rng.IntN(4) {
		case 0:
			h.claim.Result = m.result()
			m.notef("commit %.20q with %d", key, len(h.claim.Result))
			err = m.e.Commit(ctx, h.claim)
			if large := len(h.claim.Result) > m.opts.MaxResult; large && errors.Is(err, dedup.ErrResultTooLarge) {
				err = nil
			} else if large && err == nil {
				m.fatalf("a result of %d bytes was taken, MaxResult is %d", len(h.claim.Result), m.opts.MaxResult)
			}
			m.marked[key] = now
			delete(m.kept, key)
			if len(h.claim.Result) > 0 && err == nil && !m.opts.Refresh { // which notes no unwanted ones
				m.kept[key] = string(h.claim.Result)
			}
		case 1:
			m.notef("release %.20q", key)
			err = m.e.Release(ctx, h.claim)
		case 2:
			m.notef("extend %.20q", key)
			ended = false
			var c dedup.Claim
			if c, err = m.e.Extend(ctx, h.claim, 0); err == nil {
				m.held[key] = heldClaim{c, now + int64(m.opts.Lease)}
			}
		default:
			continue
		}
		// The sweeper may have freed a claim whose lease ended long ago.
		lost := errors.Is(err, dedup.ErrLeaseLost) && now > h.expires
		if err != nil && !lost {
			m.fatalf("ending the claim of %.40q: %v", key, err)
		}
		if lost {
			delete(m.marked, key)
		}
		if lost || ended {
			delete(m.held, key)
			m.stale = append(m.stale, h.claim)
		}
	}
}

// result is what a commit keeps, sometimes nothing or too much; engines without results get few.
func (m *model) result() []byte {
	if m.rng.IntN(4) == 0 || m.opts.MaxResult == 0 && m.rng.IntN(20) > 0 {
		return nil
	}
	return bytes.Repeat([]byte{byte(m.rng.Uint32())}, m.rng.IntN(m.opts.MaxResult+20))
}

func (m *model) staleClaims(ctx context.Context) {
	if len(m.stale) == 0 {
		return
	}
	c := m.stale[m.rng.IntN(len(m.stale))]
	c.Result = m.result()
	m.notef("stale %.20q", c.Key)
	if err := m.e.Commit(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
		m.fatalf("stale commit of %.40q: %v", c.Key, err)
	}
	if err := m.e.Release(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
		m.fatalf("stale release of %.40q: %v", c.Key, err)
	}
}

// TestModel runs random operations with random options, restarts, crashes and a
// moving clock against a map. A failure prints the seed; -model.seed replays it.
func TestModel(t *testing.T) {
	if testing.Short() {
		*modelSeeds = min(*modelSeeds, 15)
	}
	seeds := make([]uint64, 0, *modelSeeds)
	for i := range *modelSeeds {
		seeds = append(seeds, uint64(i+1))
	}
	if *modelSeed != 0 {
		seeds = []uint64{*modelSeed}
	}
	if os.Getenv("FIRSTSEEN_MODEL_RANDOM") != "" {
		for i := range seeds {
			seeds[i] = rand.Uint64()
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			runModel(t, seed, *modelOps)
		})
	}
}

// memoryDir is a temporary directory in memory where the system has such, with
// need bytes of room: a crash of the engine alone loses nothing there either, and a
// sync costs nothing.
func memoryDir(t *testing.T, need int64) string {
	if free, err := vfs.FreeSpace("/dev/shm"); err != nil || free < need+64<<20 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "firstseen-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func runModel(t *testing.T, seed uint64, ops int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	clock := newFakeClock()
	m := &model{t: t, rng: rng, dir: memoryDir(t, 64<<20), clock: clock, marked: map[string]int64{}, gone: map[string]int64{}, kept: map[string]string{},
		held: map[string]heldClaim{}}
	m.opts = config{Options: Options{
		Window:        time.Hour,
		Capacity:      uint64(50 + rng.IntN(2000)),
		Generations:   3 + rng.IntN(6),
		BitsPerKey:    8 + float64(rng.IntN(10)), // many "maybe"
		Shards:        1 << rng.IntN(5),
		Filter:        bloom.Kind(rng.IntN(2)),
		Sync:          Sync(rng.IntN(3)),
		Lease:         time.Duration(1+rng.IntN(30)) * time.Minute,
		UntrustedKeys: rng.IntN(2) == 0,
		MinFreeDisk:   -1,
		Now:           clock.now,
	}, hooks: hooks{
		tableKeys: 40 + rng.IntN(400),
		ringBytes: 256 << 10,
		lastFlush: uint64(1 + rng.IntN(400)),
		workEvery: 2 * time.Millisecond,
	}}
	if rng.IntN(2) == 0 {
		m.opts.MaxResult = 1 + rng.IntN(200)
	}
	// From a generator of its own, so that a seed is what it was before.
	m.opts.Refresh = rand.New(rand.NewPCG(seed, 2)).IntN(2) == 0 && m.opts.MaxResult == 0
	m.restarts = 4 << rng.IntN(4)
	m.open()
	for range ops {
		m.step()
	}
	faultFigures.add("Model", "seeds", 1)
	faultFigures.add("Model", "operations", int64(ops))
	faultFigures.add("Model", "restarts", m.restarted)
	if err := m.e.Close(); err != nil {
		m.fatalf("close: %v", err)
	}
}
