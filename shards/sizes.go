package shards

import (
	"runtime"
)

// Sizes is what a Set holds.
type Sizes struct {
	Unflushed   uint64 // keys
	Sealed      int    // tables that wait for their flush
	Claims      int
	TableBytes  int64
	FilterBytes int64
	Fill        []float64 // by slot
	PredictRate float64   // of absent keys that are "maybe"
	LiveKeys    uint64    // marked in the live generation since it began or since opening
}

// Sizes sums over all shards, one after the other: no moment need have had the sums.
func (s *Set) Sizes() Sizes {
	z := Sizes{Fill: make([]float64, s.c.Generations), Sealed: s.Sealed()}
	sampled := max(1, len(s.shards)/4) // four filters tell: hashes fill all alike
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		z.FilterBytes += (*sh.filter.Load()).Bytes()
		z.Claims += sh.claims.live
		for _, u := range append(sh.sealed, sh.active) {
			z.Unflushed += uint64(u.keys)
			z.TableBytes += int64(u.Bytes())
		}
		sh.mu.Unlock()
		if i%sampled != 0 {
			continue
		}
		// A filter is sampled in pieces of some 20 µs: a call that goes from shard to
		// shard would meet a longer hold in each of them.
		sample := func(share func(f filter) float64, to *float64) {
			sh.lockLater()
			*to += share(*sh.filter.Load()) / float64(len(s.shards)/sampled)
			sh.mu.Unlock()
			runtime.Gosched() // who waited for the lock is behind us in this processor's queue
		}
		sample(filter.Rate, &z.PredictRate)
		for g := range z.Fill {
			sample(func(f filter) float64 { return f.Fill(g) }, &z.Fill[g])
		}
	}
	z.TableBytes += s.pool.Bytes()
	return z
}

// Tombstones counts the forgotten keys that are remembered as such.
func (s *Set) Tombstones() (n int) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		n += len(sh.tombs)
		sh.mu.Unlock()
	}
	return n
}

// LiveKeys counts the keys marked in the live generation since it began or
// since opening.
func (s *Set) LiveKeys() (n uint64) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		n += sh.live
		sh.mu.Unlock()
	}
	return n
}

// LastKeys counts the keys marked in the generation before the live one, since opening.
func (s *Set) LastKeys() uint64 { return s.lastKeys.Load() }

// Waits counts the parts of calls that had to wait for memory: see Config.MaxSealed.
func (s *Set) Waits() uint64 { return s.waits.Load() }
