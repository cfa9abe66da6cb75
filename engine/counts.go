package engine

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/shards"
)

// counts are the engine's counters. Every caller writes the same cache lines here, so a batch
// counts in shards.Counts, which is its own, and adds the sums once per part.
type counts struct {
	fresh, duplicate, inFlight, unknown, invalid atomic.Uint64
	unflushed, confirmed, falsePositive          atomic.Uint64
	runsAsked, helped, again, diskWait           atomic.Uint64 // diskWait in ns; mergeDue reads two of them
	claimed, committed, released, expired, lost  atomic.Uint64
	roomWaits, refreshed                         atomic.Uint64
	flushes, flushedKeys, flushedBytes           atomic.Uint64
	merges, mergedKeys, growths                  atomic.Uint64
	flushBusy                                    atomic.Int64 // ns
	latency                                      histogram
}

func (c *counts) add(b *shards.Counts) {
	addTo(&c.fresh, b.Fresh)
	addTo(&c.duplicate, b.Duplicate)
	addTo(&c.inFlight, b.InFlight)
	addTo(&c.unknown, b.Unknown)
	addTo(&c.unflushed, b.Unflushed)
	addTo(&c.confirmed, b.Confirmed)
	addTo(&c.falsePositive, b.FalsePositive)
	addTo(&c.runsAsked, b.RunsAsked)
	addTo(&c.helped, b.Helped)
	addTo(&c.again, b.Again)
	addTo(&c.diskWait, b.DiskWait)
	addTo(&c.claimed, b.Claimed)
	addTo(&c.committed, b.Committed)
	addTo(&c.released, b.Released)
	addTo(&c.expired, b.Expired)
	addTo(&c.lost, b.Lost)
	addTo(&c.refreshed, b.Refreshed)
}

// addTo leaves out zeroes, which most counts of most calls are: an addition of nothing would take
// the cache line from other processors all the same.
func addTo(to *atomic.Uint64, n uint64) {
	if n != 0 {
		to.Add(n)
	}
}

func (c *counts) took(ns int64) { c.latency.add(uint64(max(ns, 0))) }

// A histogram counts durations, in ns, in buckets that grow by an eighth: three bits
// below the highest one. It is what Stats needs and costs one atomic addition.
type histogram struct {
	buckets [64 * 8]atomic.Uint64
	max     atomic.Uint64
}

func (h *histogram) add(ns uint64) {
	h.buckets[bucket(ns)].Add(1)
	for m := h.max.Load(); ns > m && !h.max.CompareAndSwap(m, ns); m = h.max.Load() {
	}
}

// bucket is the inverse of upper. Below 8 ns each value has a bucket; above, a power of two has
// eight of equal width.
func bucket(ns uint64) int {
	if ns < 8 {
		return int(ns)
	}
	e := bits.Len64(ns) - 4
	return (e+1)*8 + int(ns>>e&7)
}

// upper is the largest value of a bucket.
func upper(b int) uint64 {
	if b < 8 {
		return uint64(b)
	}
	e := b/8 - 1
	return (uint64(b%8)+9)<<e - 1
}

// stats may be called beside add. The buckets are copied and Calls is the sum of the copy, so the
// ranks fit the buckets they are looked for in, whatever is added meanwhile. The maximum may be
// of a call that came later; a quantile is told as the upper end of its bucket, but not above it.
func (h *histogram) stats() (s LatencyStats) {
	var counts [len(h.buckets)]uint64
	for i := range counts {
		counts[i] = h.buckets[i].Load()
		s.Calls += counts[i]
	}
	s.Max = time.Duration(h.max.Load())
	at := func(q float64) time.Duration {
		rank := uint64(q * float64(s.Calls))
		for i, n := range counts {
			if rank < n {
				return min(time.Duration(upper(i)), s.Max)
			}
			rank -= n
		}
		return s.Max
	}
	s.P50, s.P99, s.P999 = at(0.5), at(0.99), at(0.999)
	return s
}
