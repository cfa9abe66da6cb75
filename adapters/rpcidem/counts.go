package rpcidem

import "sync/atomic"

// Stats counts what a server did since New.
type Stats struct {
	Run         uint64 `json:"run"`         // handlers begun
	Replayed    uint64 `json:"replayed"`    // stored answers given again
	InFlight    uint64 `json:"in_flight"`   // a twin was running
	Mismatches  uint64 `json:"mismatches"`  // the key belonged to another call
	NotStored   uint64 `json:"not_stored"`  // done, and the answer is not there
	NotFinal    uint64 `json:"not_final"`   // answers after which the key was free again
	InDoubt     uint64 `json:"in_doubt"`    // the outcome is in doubt
	LeaseLost   uint64 `json:"lease_lost"`  // another call took over
	Unavailable uint64 `json:"unavailable"` // the store was down
	Unguarded   uint64 `json:"unguarded"`   // let through without a guard
	WithoutKey  uint64 `json:"without_key"` // passed untouched
	Refused     uint64 `json:"refused"`     // key missing or not valid, caller not known
	Panics      uint64 `json:"panics"`      // of handlers
}

// counts are those of the front; the others are idem's.
type counts struct {
	inFlight, unavailable, unguarded, withoutKey, refused atomic.Uint64
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	c, d := &s.counts, &s.config.Counts
	return Stats{
		Run: d.Run.Load(), Replayed: d.Replayed.Load(), InFlight: c.inFlight.Load(), Mismatches: d.Mismatches.Load(),
		NotStored: d.NotStored.Load(), NotFinal: d.NotFinal.Load(), InDoubt: d.InDoubt.Load(), LeaseLost: d.LeaseLost.Load(),
		Unavailable: c.unavailable.Load(), Unguarded: c.unguarded.Load(), WithoutKey: c.withoutKey.Load(),
		Refused: c.refused.Load(), Panics: d.Panics.Load(),
	}
}
