package engine

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/shards"
)

// TestStats: the counters say what the calls did.
func TestStats(t *testing.T) {
	clock := newFakeClock()
	o, dir := testOptions(clock), t.TempDir()
	e := mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, 3000), dedup.Fresh)
	flushAll(t, e)
	admitAll(t, e, intKeys(3000, 500), dedup.Fresh)
	admitAll(t, e, intKeys(0, 1000), dedup.Duplicate)   // in runs
	admitAll(t, e, intKeys(3000, 100), dedup.Duplicate) // unflushed
	claims, err := e.ClaimBatch(ctx, nil, intKeys(9000, 10))
	if err != nil {
		t.Fatal(err)
	}
	mustClaim(t, e, intKey(9000), dedup.InFlight)
	if err := e.Commit(ctx, claims[:4]...); err != nil {
		t.Fatal(err)
	}
	if err := e.Release(ctx, claims[4:7]...); err != nil {
		t.Fatal(err)
	}
	_ = e.Release(ctx, claims[0]) // lost
	_, _ = e.Admit(ctx, nil)      // invalid
	s := e.Stats()
	v := VerdictStats{Fresh: 3510, Duplicate: 1100, InFlight: 1, Invalid: 1}
	if s.Verdicts != v {
		t.Errorf("verdicts %+v, want %+v", s.Verdicts, v)
	}
	c := ClaimStats{Held: 3, Claimed: 10, Committed: 4, Released: 3, Lost: 1}
	if s.Claims != c {
		t.Errorf("claims %+v, want %+v", s.Claims, c)
	}
	l := s.Lookups
	if l.Unflushed != 100 || l.Confirmed != 1000 || l.New+l.FalsePositive != 3510 || l.RunsAsked == 0 || l.FalsePositive > 500 {
		t.Errorf("look-ups %+v", l)
	}
	if f := s.Filter; f.Kind != "sliced" || f.BitsPerKey != 24 || f.Capacity != o.Capacity || f.Bytes <= 0 || f.PredictedRate < 0 || f.PredictedRate > 0.05 || f.ObservedRate > 0.05 {
		t.Errorf("filter %+v", f)
	}
	if f := s.Flush; f.Keys != 3000 || f.Flushes < uint64(o.Shards) || f.Bytes < 15*3000 || f.Bytes > 18*3000 || f.Bytes != uint64(s.Generations[0].Bytes) || f.UnflushedKeys != 504 || f.PendingTables != 0 || f.Busy <= 0 {
		t.Errorf("flush %+v", f)
	}
	if j := s.Journal; j.RingBytes < 4<<20 || j.Written < 16*3500 || j.Syncs == 0 || j.UsedBytes <= 0 || j.UsedBytes > j.RingBytes || j.Unsynced != 0 {
		t.Errorf("journal %+v", j)
	}
	if w := s.Window; w.Asked != o.Window || w.Span != o.Window/4 || w.Held != 0 || !w.Now.Equal(clock.now()) {
		t.Errorf("window %+v", w)
	}
	if q := s.Latency; q.Calls == 0 {
		t.Errorf("latency %+v", q)
	}
	if s.MemoryBytes < s.Filter.Bytes {
		t.Errorf("%d bytes of memory, the filters alone take %d", s.MemoryBytes, s.Filter.Bytes)
	}
	if len(s.Generations) != 1 || s.Generations[0].Keys != 3000 || s.Generations[0].Runs < o.Shards || s.Generations[0].Fill <= 0 || !s.Generations[0].End.IsZero() {
		t.Errorf("generations %+v", s.Generations)
	}
	clock.advance(e.opts.span())
	admitAll(t, e, intKeys(20_000, 1), dedup.Fresh)
	s = e.Stats()
	if s.Flush.Rotations != 1 || len(s.Generations) != 2 || s.Window.Held != e.opts.span() || !s.Generations[0].End.Equal(s.Generations[1].Start) {
		t.Errorf("after a rotation: %+v, %+v, held %v", s.Flush, s.Generations, s.Window.Held)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
	mustClose(t, e)
	e = mustOpen(t, dir, o)
	if r := e.Stats().Recovery; !r.Clean || r.Replayed == 0 || len(r.Gaps) != 0 || r.Took <= 0 || r.MayHaveLost != 0 {
		t.Errorf("recovery %+v", r)
	}
	e.crash(t)
	e = mustOpen(t, dir, o)
	if r := e.Stats().Recovery; r.Clean || r.MayHaveLost != 0 {
		t.Errorf("recovery after a crash %+v", r)
	}
}

// TestStatsBesideCalls: Stats and snapshots go on beside calls (for -race).
func TestStatsBesideCalls(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(clock)
	o.tableKeys, o.Sync = 300, SyncNone
	e := mustOpen(t, t.TempDir(), o)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for _, look := range []func(){
		func() { _ = e.Stats() },
		func() {
			if err := e.Snapshot(ctx); err != nil {
				t.Error(err)
			}
		},
	} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
					look()
					<-time.After(100 * time.Microsecond) // leaves the processor to the callers
				}
			}
		}()
	}
	defer wg.Wait()
	defer close(stop)
	for from := 0; from < 30_000; from += 500 {
		clock.advance(o.Window / 40)
		admitAll(t, e, intKeys(from, 500), dedup.Fresh)
		admitAll(t, e, intKeys(from, 500), dedup.Duplicate)
	}
}

// TestHistogram: quantiles are right to an eighth.
func TestHistogram(t *testing.T) {
	var h histogram
	rng := rand.New(rand.NewPCG(1, 12))
	values := make([]uint64, 10_000)
	for i := range values {
		values[i] = rng.Uint64N(1 << (4 + rng.Uint64N(36)))
		h.add(values[i])
	}
	slices.Sort(values)
	s := h.stats()
	if s.Calls != 10_000 || s.Max != time.Duration(values[len(values)-1]) {
		t.Errorf("%+v, the largest is %d", s, values[len(values)-1])
	}
	for q, got := range map[float64]time.Duration{0.5: s.P50, 0.99: s.P99, 0.999: s.P999} {
		want := float64(values[int(q*10_000)])
		if float64(got) < want || float64(got) > want*1.13+1 {
			t.Errorf("quantile %v is %d, want %.0f", q, got, want)
		}
	}
	for v := range uint64(5000) {
		b := bucket(v)
		if upper(b) < v || b > 0 && upper(b-1) >= v {
			t.Fatalf("%d is in bucket %d, which ends at %d, the one before at %d", v, b, upper(b), upper(b-1))
		}
	}
	if b := bucket(^uint64(0)); b >= len(h.buckets) {
		t.Errorf("the largest value has bucket %d", b)
	}
}

// TestFlushWaits: while a flush does not get on, keys go to as many full tables as there
// is memory for; then calls wait, which the statistics tell, and go on with the flush.
func TestFlushWaits(t *testing.T) {
	o := testOptions(nil)
	let := make(chan struct{})
	letOnce := sync.OnceFunc(func() { close(let) })
	defer letOnce()
	o.phase = func(name string) func() {
		if name == "flush" {
			<-let
		}
		return func() {}
	}
	e := mustOpen(t, t.TempDir(), o)
	defer letOnce() // before the engine closes
	waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	sets := func() float64 { return float64(e.Stats().Flush.UnflushedKeys) / float64(o.tableKeys*o.Shards) }
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil && i < 40_000; i += 100 {
			_, err = e.AdmitBatch(waiting, nil, intKeys(i, 100))
		}
		done <- err
	}()
	faultWait(t, "a call that waits", func() bool { return e.Stats().Flush.Waits > 0 })
	if n := sets(); n < shards.TableSets-0.6 || n > shards.TableSets {
		t.Errorf("calls wait with %.2f sets of tables full, want nearly %d", n, shards.TableSets)
	}
	letOnce()
	if err := <-done; err != nil {
		t.Errorf("once the flush got on: %v", err)
	}
}
