package engine

import (
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/nanotime"
)

// TestBounds: a number that is out of its bounds is refused by its name, at once.
func TestBounds(t *testing.T) {
	f := func(name string, change func(o *Options)) {
		t.Helper()
		o := Options{Window: time.Hour, MinFreeDisk: -1}
		change(&o)
		if _, err := Open(t.TempDir(), o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f("Window", func(o *Options) { o.Window = math.MaxInt64 })
	f("Window", func(o *Options) { o.Window = nanotime.MaxSpan + 1 })
	f("Window", func(o *Options) { o.Window = math.MinInt64 })
	f("Window", func(o *Options) { o.Window = 6 * time.Microsecond })
	f("Lease", func(o *Options) { o.Lease = math.MaxInt64 })
	f("Lease", func(o *Options) { o.Lease = math.MinInt64 })
	f("SyncEvery", func(o *Options) { o.SyncEvery = 1 })
	f("SyncEvery", func(o *Options) { o.SyncEvery = math.MaxInt64 })
	f("Capacity", func(o *Options) { o.Capacity = 1 << 61 })
	f("Capacity", func(o *Options) { o.Capacity = math.MaxUint64 })
	f("Capacity", func(o *Options) { o.Capacity = maxCapacity }) // no machine of ours has the memory
	f("MemoryBudget", func(o *Options) { o.MemoryBudget = 1 })
	f("MemoryBudget", func(o *Options) { o.MemoryBudget = math.MinInt64 })
	f("KeyBytes", func(o *Options) { o.KeyBytes = math.MaxInt })
	f("Generations", func(o *Options) { o.Generations = 1 })
	f("Generations", func(o *Options) { o.Generations = math.MinInt })
	f("BitsPerKey", func(o *Options) { o.BitsPerKey = math.NaN() })
	f("BitsPerKey", func(o *Options) { o.BitsPerKey = math.Inf(1) })
	f("clock", func(o *Options) { o.Now = func() time.Time { return time.Time{} } })
	f("clock", func(o *Options) { o.Now = func() time.Time { return time.Unix(math.MaxInt64, 0) } })
	f("clock", func(o *Options) { o.Now = func() time.Time { panic("no clock") } })
}

// TestLongest: the longest window and lease hold what they promise, wherever the
// clock stands.
func TestLongest(t *testing.T) {
	for _, at := range []int64{0, 1, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), nanotime.Max - int64(2*time.Second)} {
		for _, mode := range []Mode{Exact, Approximate} {
			clock := &fakeClock{}
			clock.ns.Store(at)
			o := testOptions(clock)
			o.Window, o.Lease, o.Mode = nanotime.MaxSpan, nanotime.MaxSpan, mode
			e := mustOpen(t, t.TempDir(), o)
			key, mine, extended := []byte("marked"), []byte("claimed"), []byte("extended")
			admitAll(t, e, [][]byte{key}, dedup.Fresh)
			c := mustClaim(t, e, mine, dedup.Fresh)
			x, err := e.Extend(ctx, mustClaim(t, e, extended, dedup.Fresh), math.MaxInt64)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 { // the last step is behind the end of all times
				clock.advance(time.Second)
				admitAll(t, e, [][]byte{key}, dedup.Duplicate)
				mustClaim(t, e, mine, dedup.InFlight)
				mustClaim(t, e, extended, dedup.InFlight)
			}
			if err := e.Commit(ctx, c, x); err != nil {
				t.Error(err)
			}
			if at == nanotime.Max-int64(2*time.Second) {
				clock.ns.Store(nanotime.Max - int64(time.Second))
			}
			mustClose(t, e)
			e = mustOpen(t, e.dir, o)
			admitAll(t, e, [][]byte{key, mine, extended}, dedup.Duplicate)
		}
	}
}

// TestClockExtremes: readings that can't be don't move the engine's time, and a clock
// that jumps about in what can be forgets nothing that is young by the engine's.
func TestClockExtremes(t *testing.T) {
	var now atomic.Pointer[time.Time]
	set := func(at time.Time) { now.Store(&at) }
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	set(start)
	o := testOptions(nil)
	o.Now = func() time.Time { return *now.Load() }
	dir := t.TempDir()
	e := mustOpen(t, dir, o)
	key := []byte("k")
	admitAll(t, e, [][]byte{key}, dedup.Fresh)
	for _, bad := range []time.Time{{}, time.Unix(-1, 0), time.Unix(math.MinInt64, 0), time.Unix(math.MaxInt64, 0), time.Unix(0, nanotime.Max).Add(time.Hour)} {
		set(bad)
		admitAll(t, e, [][]byte{key}, dedup.Duplicate)
		if err := e.persistMoment(); err != nil {
			t.Fatal(err)
		}
		if at := e.clock.read(); at != start.UnixNano() {
			t.Errorf("%v moved the clock to %v", bad, time.Unix(0, at))
		}
	}
	e.crash(t)
	set(start.Add(time.Hour))
	e = mustOpen(t, dir, o)
	admitAll(t, e, [][]byte{key}, dedup.Duplicate)
	last := int64(0)
	for i := range 20 { // forth and back through all times until they end
		set(time.Unix(0, int64(i%2)*(nanotime.Max-int64(2*time.Second))))
		at := e.clock.read()
		if at < last || at > nanotime.Max {
			t.Fatalf("the clock went from %d to %d", last, at)
		}
		last = at
		mustAdmit(t, e, intKey(i))
		admitAll(t, e, intKeys(i, 1), dedup.Duplicate)
	}
	if last != nanotime.Max {
		t.Errorf("the clock ended at %d, want %d", last, nanotime.Max)
	}
}

// TestExpiresWall: what a claim says of its end is on the caller's clock, after suspends
// and steps of the wall too.
func TestExpiresWall(t *testing.T) {
	s := &suspended{wall: newFakeClock()}
	o := testOptions(s.wall)
	o.Lease, o.Window = time.Minute, 1000*time.Hour
	o.passed = func() time.Duration { return time.Duration(s.mono.Load()) }
	dir := t.TempDir()
	e := mustOpen(t, dir, o)
	for i, step := range []time.Duration{0, 8 * time.Hour, -20 * time.Hour, 100 * time.Hour, -30 * time.Second} {
		s.pass(step, true)
		f := func(what string, c dedup.Claim, in time.Duration) {
			t.Helper()
			if got := c.Expires.Sub(s.wall.now()); got != in {
				t.Errorf("step %v: %s expires in %v, want %v", step, what, got, in)
			}
		}
		key := intKey(i)
		c := mustClaim(t, e, key, dedup.Fresh)
		f("a claim", c, time.Minute)
		s.pass(10*time.Second, false)
		f("another's claim", mustClaim(t, e, key, dedup.InFlight), 50*time.Second)
		c, err := e.Extend(ctx, c, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		f("an extended claim", c, time.Hour)
		if i == 2 {
			e.crash(t)
			e = mustOpen(t, dir, o)
			f("a claim after an opening", mustClaim(t, e, key, dedup.Fresh), time.Minute)
		}
	}
}

// anyOptions draws options of any values: most are out of their bounds in one place or
// none.
func anyOptions(rng *rand.Rand) Options {
	number := func(usual ...int64) int64 {
		switch rng.IntN(30) {
		case 0:
			return rng.Int64() >> rng.IntN(64)
		case 1:
			return -rng.Int64() >> rng.IntN(64)
		case 2:
			return []int64{math.MaxInt64, math.MinInt64, 0, 1, -1}[rng.IntN(5)]
		}
		return usual[rng.IntN(len(usual))]
	}
	between := func(least, most int64) int64 { return least + rng.Int64N(most-least) }
	capacity := uint64(number(0, between(1, 5000), between(1, 1e6)))
	if capacity > 1e6 && capacity < maxCapacity {
		capacity %= 1e6 // what is asked for is made: that takes its time and memory
	}
	return Options{
		Window:        time.Duration(number(int64(time.Hour), between(1, int64(nanotime.MaxSpan)), between(1000, 1e9))),
		Capacity:      capacity,
		KeyBytes:      int(number(0, 16, 36, between(1, 70_000))),
		Generations:   int(number(0, between(3, 9), between(3, 9))),
		BitsPerKey:    []float64{0, 8, 24, 64, math.NaN(), 7.99, float64(between(8, 64))}[rng.IntN(7)],
		Shards:        int(number(0, 1, 2, 16, 64)),
		Filter:        bloom.Kind(number(0, 1)),
		Mode:          Mode(number(0, 0, 0, 1)),
		Sync:          Sync(number(0, 1, 2)),
		SyncEvery:     time.Duration(number(0, int64(time.Millisecond), int64(time.Hour))),
		Lease:         time.Duration(number(0, int64(time.Minute), between(1, int64(nanotime.MaxSpan)))),
		MemoryBudget:  number(0, 0, minMemory, 100<<20),
		MinFreeDisk:   number(-1, 0),
		UntrustedKeys: rng.IntN(4) == 0,
		OnGap:         OnGap(number(0, 1)),
	}
}
