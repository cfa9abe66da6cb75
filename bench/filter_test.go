package bench

import (
	"context"
	"testing"
)

func TestMeasureFilters(t *testing.T) {
	c := FilterConfig{Keys: 40_000, CacheKeys: 10_000, Seed: 3}
	curves, err := MeasureFilters(context.Background(), EngineFilters(), c)
	if err != nil || len(curves) != 2 {
		t.Fatalf("%d curves, %v", len(curves), err)
	}
	for _, curve := range curves {
		if len(curve.Points) != fillSteps+fillSteps/2 {
			t.Fatalf("%s: %d points", curve.Name, len(curve.Points))
		}
		full := curve.Points[fillSteps-1]
		if full.Fill != 1 || full.Rate > 0.015 || curve.Points[14].Rate <= full.Rate {
			t.Errorf("%s: rate %v at %v, then %v", curve.Name, full.Rate, full.Fill, curve.Points[14].Rate)
		}
		if s := curve.OutOfCache; s.Rate > 1.1*full.Rate+0.001 || s.Rate < 0.9*full.Rate-0.001 {
			t.Errorf("%s: one by one and in batches the rate is %v, in batches alone %v", curve.Name, s.Rate, full.Rate)
		}
	}
}

// TestFiltersLoseNothing asks for what was added.
func TestFiltersLoseNothing(t *testing.T) { checkFilters(t, EngineFilters()) }

func checkFilters(t *testing.T, candidates []FilterCandidate) {
	for _, candidate := range candidates {
		f, err := candidate.New(20_000, 24)
		if err != nil {
			t.Fatal(err)
		}
		h := hashes{seed: 9}
		all := h.next(20_000)
		for i := 0; i < len(all); i += FilterBatch {
			f.Add(all[i:min(i+FilterBatch, len(all))])
		}
		if got := countHits(f, all); got != len(all) {
			t.Errorf("%s: %d of %d in batches", candidate.Name, got, len(all))
		}
		if got := countOnes(f, all); got != len(all) {
			t.Errorf("%s: %d of %d one by one", candidate.Name, got, len(all))
		}
		f.Close()
	}
}
