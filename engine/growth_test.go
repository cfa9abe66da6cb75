package engine

import (
	"testing"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
)

// TestGrowth: a stream five times denser than Capacity gets larger filters in the
// background. Answers are exact all the time, the rate of "maybe" comes down to
// what it was meant to be, and the size is remembered.
func TestGrowth(t *testing.T) {
	for _, kind := range []bloom.Kind{bloom.Sliced, bloom.Compact} {
		t.Run(kind.String(), func(t *testing.T) {
			clock, dir := newFakeClock(), t.TempDir()
			o := testOptions(clock)
			o.Filter, o.Sync, o.Capacity, o.tableKeys = kind, SyncNone, 8000, 4000
			e := mustOpen(t, dir, o)
			const perSpan = 5 * 8000 / 4
			next, worst := 0, 0.0
			span := func() {
				for range 10 {
					keys := intKeys(next, perSpan/10)
					admitAll(t, e, keys, dedup.Fresh)
					next += len(keys)
					admitAll(t, e, intKeys(max(0, next-3*perSpan), 100), dedup.Duplicate)
					worst = max(worst, e.Stats().Filter.PredictedRate)
					clock.advance(e.opts.span() / 10)
				}
			}
			span()
			span()
			eventually(t, "the filters grow", func() bool { return e.Stats().Filter.Growths > 0 })
			for range 2 * o.Generations {
				span()
			}
			eventually(t, "the filters have the size that the stream needs", func() bool {
				return float64(e.Stats().Filter.Capacity) >= 4*perSpan/growAt
			})
			for range 2 * o.Generations {
				span()
			}
			s := e.Stats()
			// A filter that is fuller than planned by less than growAt stays.
			meant := bloom.PredictRate(kind, e.opts.BitsPerKey/growAt, e.set.Hashes(), o.Generations)
			t.Logf("%d growths, capacity %d, rate at worst %.3f, now %.4f, meant at most %.4f", s.Filter.Growths, s.Filter.Capacity, worst, s.Filter.PredictedRate, meant)
			if s.Filter.PredictedRate > 1.5*meant {
				t.Errorf("the rate of \"maybe\" is %.4f, at most %.4f is meant", s.Filter.PredictedRate, meant)
			}
			if s.Filter.Growths > 6 {
				t.Errorf("%d growths for a stream of one density", s.Filter.Growths)
			}
			flushAll(t, e) // what the size is remembered by are the runs
			mustClose(t, e)
			e = mustOpen(t, dir, o)
			if got := e.Stats().Filter.Capacity; got != s.Filter.Capacity {
				t.Errorf("after a restart the capacity is %d, it was %d", got, s.Filter.Capacity)
			}
			admitAll(t, e, intKeys(next-3*perSpan, 3*perSpan), dedup.Duplicate)
		})
	}
}

// TestGrowthBounded: filters stay within the memory budget; beyond it answers
// stay exact and the rate is told.
func TestGrowthBounded(t *testing.T) {
	for _, generations := range []int{5, 8} { // Sliced pads five to eight
		growthBounded(t, generations)
	}
}

func growthBounded(t *testing.T, generations int) {
	clock := newFakeClock()
	o := testOptions(clock)
	o.Sync, o.Capacity, o.MemoryBudget, o.Generations, o.tableKeys = SyncNone, 4000, 200_000, generations, 4000
	e := mustOpen(t, t.TempDir(), o)
	next := 0
	span := func(n int) {
		for range n {
			for range 4 {
				keys := intKeys(next, 20_000/generations)
				admitAll(t, e, keys, dedup.Fresh)
				next += len(keys)
				clock.advance(e.opts.span() / 4)
			}
		}
	}
	span(2)
	eventually(t, "the filters grow", func() bool { return e.Stats().Filter.Growths > 0 })
	span(2 * generations)
	admitAll(t, e, intKeys(next-60_000, 60_000), dedup.Duplicate)
	s := e.Stats()
	t.Logf("filters take %d bytes, the budget is %d, the rate is %.3f", s.Filter.Bytes, o.MemoryBudget, s.Filter.PredictedRate)
	if s.Filter.Bytes > o.MemoryBudget {
		t.Errorf("filters take %d bytes, the budget is %d", s.Filter.Bytes, o.MemoryBudget)
	}
	if s.Filter.PredictedRate < 0.02 {
		t.Errorf("the rate is told as %.4f: with so little memory it can't be", s.Filter.PredictedRate)
	}
}
