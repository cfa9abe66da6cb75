package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/firstseen/firstseen/bloom"
)

// A Filter is a filter over hashes as the filter benchmark sees it. It is used
// by one goroutine.
type Filter interface {
	Add(hashes []uint64)
	// Maybe sets hits[i] to whether hashes[i] may have been added, and may work
	// on all of them at once; len(hits) is len(hashes).
	Maybe(hits []bool, hashes []uint64)
	// MaybeOne is the call for a single hash.
	MaybeOne(hash uint64) bool
	Bytes() int64
	Close()
}

// A FilterCandidate makes filters of one kind.
type FilterCandidate struct {
	Name        string
	About       string
	Generations int // pieces in which it forgets; 1 is one that never does
	// New makes a filter for keys at bitsPerKey, or at the nearest that the
	// implementation can do.
	New func(keys uint64, bitsPerKey float64) (Filter, error)
}

// A FilterCurve is one filter measured.
type FilterCurve struct {
	Name        string        `json:"name"`
	About       string        `json:"about"`
	Generations int           `json:"generations"`
	InCache     FilterSpeed   `json:"in_cache"`
	OutOfCache  FilterSpeed   `json:"out_of_cache"`
	Points      []FilterPoint `json:"points"` // of the large filter
}

// A FilterSpeed is what calls cost when the filter is full. The looked-up keys
// are absent.
type FilterSpeed struct {
	Keys       uint64  `json:"keys"`
	Bytes      int64   `json:"bytes"`
	BitsPerKey float64 `json:"bits_per_key"`
	AddNs      float64 `json:"add_ns"`   // a key, in batches of FilterBatch
	OneNs      float64 `json:"one_ns"`   // a look-up on its own
	BatchNs    float64 `json:"batch_ns"` // a look-up in batches of FilterBatch
	Rate       float64 `json:"rate"`     // of "maybe" in these look-ups
}

// A FilterPoint is the rate of "maybe" for absent keys at one fill.
type FilterPoint struct {
	Fill float64 `json:"fill"` // keys added over keys sized for
	Rate float64 `json:"rate"`
}

// FilterBatch is the number of keys in a batch.
const FilterBatch = 256

// A FilterConfig says how filters are measured. Zero fields take the defaults.
type FilterConfig struct {
	Keys       uint64  // in the large filter; default 10,000,000
	CacheKeys  uint64  // in the small one; default 50,000
	BitsPerKey float64 // default 24
	Seed       uint64
	Progress   func(done, total int, name string)
}

// filterProbes is how many absent keys are looked up for a rate: at 1 % their
// number of hits has a standard deviation of 1 %.
const filterProbes = 1 << 20

// fillSteps up to the full filter, and half as many beyond it.
const fillSteps = 10

// MeasureFilters measures each candidate in turn. It gives what is there when
// ctx ends.
func MeasureFilters(ctx context.Context, candidates []FilterCandidate, c FilterConfig) ([]FilterCurve, error) {
	c.Keys = orDefault(c.Keys, 10_000_000)
	c.CacheKeys = orDefault(c.CacheKeys, 50_000)
	c.BitsPerKey = orDefault(c.BitsPerKey, 24)
	var out []FilterCurve
	for i, candidate := range candidates {
		if ctx.Err() != nil {
			return out, nil
		}
		if c.Progress != nil {
			c.Progress(i, len(candidates), candidate.Name)
		}
		curve := FilterCurve{Name: candidate.Name, About: candidate.About, Generations: candidate.Generations}
		if err := curve.measure(ctx, candidate, c); err != nil {
			return out, fmt.Errorf("bench: filter %s: %w", candidate.Name, err)
		}
		if ctx.Err() == nil {
			out = append(out, curve)
		}
	}
	return out, nil
}

func (curve *FilterCurve) measure(ctx context.Context, candidate FilterCandidate, c FilterConfig) error {
	small, err := candidate.New(c.CacheKeys, c.BitsPerKey)
	if err != nil {
		return err
	}
	defer small.Close()
	present, absent := hashes{seed: mix(c.Seed)}, hashes{seed: mix(c.Seed), index: 1 << 40}
	probes := absent.next(filterProbes)
	addNs := timeAdds(small, &present, c.CacheKeys)
	curve.InCache = timeLookups(small, probes, c.CacheKeys, addNs)

	large, err := candidate.New(c.Keys, c.BitsPerKey)
	if err != nil {
		return err
	}
	defer large.Close()
	for step := 1; step <= fillSteps+fillSteps/2; step++ {
		if ctx.Err() != nil {
			return nil
		}
		addNs := timeAdds(large, &present, c.Keys/fillSteps)
		curve.Points = append(curve.Points, FilterPoint{float64(step) / fillSteps, rateOf(large, probes)})
		if step == fillSteps {
			curve.OutOfCache = timeLookups(large, probes, c.Keys, addNs)
		}
	}
	return nil
}

// hashes gives different random hashes, as a key's hash would be.
type hashes struct {
	seed, index uint64
}

func (h *hashes) next(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = mix(h.seed ^ h.index)
		h.index++
	}
	return out
}

// timeAdds adds n keys and returns nanoseconds a key.
func timeAdds(f Filter, h *hashes, n uint64) float64 {
	var took time.Duration
	for done := uint64(0); done < n; {
		chunk := h.next(int(min(n-done, 1<<16)))
		done += uint64(len(chunk))
		start := time.Now()
		for len(chunk) > 0 {
			k := min(FilterBatch, len(chunk))
			f.Add(chunk[:k])
			chunk = chunk[k:]
		}
		took += time.Since(start)
	}
	return float64(took.Nanoseconds()) / float64(max(n, 1))
}

func timeLookups(f Filter, probes []uint64, keys uint64, addNs float64) FilterSpeed {
	s := FilterSpeed{Keys: keys, Bytes: f.Bytes(), BitsPerKey: float64(f.Bytes()) * 8 / float64(keys), AddNs: addNs}
	// Each way gets hashes of its own, so that neither finds the other's lines
	// in the cache.
	half := len(probes) / 2
	start := time.Now()
	kept := countOnes(f, probes[:half])
	s.OneNs = float64(time.Since(start).Nanoseconds()) / float64(half)
	start = time.Now()
	kept += countHits(f, probes[half:])
	s.BatchNs = float64(time.Since(start).Nanoseconds()) / float64(len(probes)-half)
	s.Rate = float64(kept) / float64(len(probes))
	return s
}

func countOnes(f Filter, probes []uint64) int {
	found := 0
	for _, hash := range probes {
		if f.MaybeOne(hash) {
			found++
		}
	}
	return found
}

func rateOf(f Filter, probes []uint64) float64 {
	return float64(countHits(f, probes)) / float64(len(probes))
}

func countHits(f Filter, probes []uint64) int {
	var hits [FilterBatch]bool
	found := 0
	for len(probes) > 0 {
		n := min(FilterBatch, len(probes))
		f.Maybe(hits[:n], probes[:n])
		for _, hit := range hits[:n] {
			if hit {
				found++
			}
		}
		probes = probes[n:]
	}
	return found
}

// EngineFilters lists the filters of package bloom, with the engine's eight
// generations.
func EngineFilters() []FilterCandidate {
	const generations = 8
	var out []FilterCandidate
	for _, kind := range []bloom.Kind{bloom.Sliced, bloom.Compact} {
		out = append(out, FilterCandidate{
			Name: "firstseen-" + kind.String(), About: "eight rotating generations, each key in one of them", Generations: generations,
			New: func(keys uint64, bitsPerKey float64) (Filter, error) {
				f, err := bloom.New(kind, bloom.Config{Keys: keys, BitsPerKey: bitsPerKey, Generations: generations})
				if err != nil {
					return nil, err
				}
				return &rotating{filter: f, span: max(1, (keys+generations-1)/generations)}, nil
			},
		})
	}
	return out
}

// rotating fills one slot after the other, as a window would. Beyond the full
// window it starts over without clearing: the benchmark wants to see it
// overfull.
type rotating struct {
	filter bloom.Filter
	span   uint64 // keys per slot
	added  uint64
	masks  [FilterBatch]uint8
}

func (r *rotating) Add(hashes []uint64) {
	slot := int(r.added/r.span) % r.filter.Generations()
	r.filter.Prefetch(hashes)
	r.filter.AddBatch(slot, hashes)
	r.added += uint64(len(hashes))
}

func (r *rotating) Maybe(hits []bool, hashes []uint64) {
	r.filter.MaybeBatch(r.masks[:len(hashes)], hashes)
	for i := range hits {
		hits[i] = r.masks[i] != 0
	}
}

func (r *rotating) MaybeOne(hash uint64) bool { return r.filter.Maybe(hash) != 0 }
func (r *rotating) Bytes() int64              { return r.filter.Bytes() }
func (r *rotating) Close()                    { r.filter.Close() }
