package redisstore

import (
	"sync/atomic"

	"github.com/firstseen/firstseen/dedup"
)

// Stats are sums since New, of this Store alone.
type Stats struct {
	Fresh, Duplicate, InFlight, Unknown uint64 // claims by verdict

	Committed uint64 // claims that were given to Commit and answered, the lost ones included
	Released  uint64 // the same for Release
	Lost      uint64 // claims that were no longer held
	Calls     uint64 // scripts
	Retries   uint64 // attempts after the first
	Errors    uint64 // scripts that failed
	Gaps      uint64 // losses that were noticed
	Refused   uint64 // claims that were refused for a gap, without asking
	Evicted   uint64 // records, whosever, that the servers evicted since New
}

type counts struct {
	fresh, duplicate, inFlight, unknown atomic.Uint64
	committed, released, lost           atomic.Uint64
	calls, retries, errors              atomic.Uint64
	gaps, refused, evicted              atomic.Uint64
}

func (c *counts) verdicts(cs []dedup.Claim) {
	var n [4]uint64
	for i := range cs {
		n[cs[i].Verdict]++
	}
	c.unknown.Add(n[dedup.Unknown])
	c.fresh.Add(n[dedup.Fresh])
	c.duplicate.Add(n[dedup.Duplicate])
	c.inFlight.Add(n[dedup.InFlight])
}

// Stats returns the sums. Each is exact; they are not read at one moment.
func (s *Store) Stats() Stats {
	c := &s.stats
	return Stats{
		Fresh: c.fresh.Load(), Duplicate: c.duplicate.Load(), InFlight: c.inFlight.Load(), Unknown: c.unknown.Load(),
		Committed: c.committed.Load(), Released: c.released.Load(), Lost: c.lost.Load(),
		Calls: c.calls.Load(), Retries: c.retries.Load(), Errors: c.errors.Load(),
		Gaps: c.gaps.Load(), Refused: c.refused.Load(), Evicted: c.evicted.Load(),
	}
}
