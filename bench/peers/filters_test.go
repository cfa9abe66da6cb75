package peers

import (
	"context"
	"testing"

	"github.com/firstseen/firstseen/bench"
)

func TestFilters(t *testing.T) {
	curves, err := bench.MeasureFilters(context.Background(), Filters(), bench.FilterConfig{Keys: 50_000, CacheKeys: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for i, candidate := range Filters() {
		full := curves[i].Points[9]
		if full.Fill != 1 || full.Rate > 0.015 {
			t.Errorf("%s: rate %v at %v", candidate.Name, full.Rate, full.Fill)
		}
		f, err := candidate.New(1000, 24)
		if err != nil {
			t.Fatal(err)
		}
		hashes := []uint64{1, 2 << 40, 3 << 20, 1<<64 - 1}
		f.Add(hashes)
		hits := make([]bool, len(hashes))
		f.Maybe(hits, hashes)
		for j, hash := range hashes {
			if !hits[j] || !f.MaybeOne(hash) {
				t.Errorf("%s lost %#x", candidate.Name, hash)
			}
		}
		if f.MaybeOne(12345) {
			t.Errorf("%s holds a hash that was not added", candidate.Name)
		}
		f.Close()
	}
}
