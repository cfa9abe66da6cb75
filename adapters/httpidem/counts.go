package httpidem

import "sync/atomic"

// Stats counts what the middleware did since New.
type Stats struct {
	Run         uint64 `json:"run"`         // handlers begun
	Replayed    uint64 `json:"replayed"`    // stored answers given again
	InFlight    uint64 `json:"in_flight"`   // 409: a twin was running
	Mismatches  uint64 `json:"mismatches"`  // 422
	NotStored   uint64 `json:"not_stored"`  // 409: done, and the answer is not there
	NotFinal    uint64 `json:"not_final"`   // answers after which the key was free again
	InDoubt     uint64 `json:"in_doubt"`    // 409: the outcome is in doubt
	LeaseLost   uint64 `json:"lease_lost"`  // 409: another request took over
	Unavailable uint64 `json:"unavailable"` // 503
	Unguarded   uint64 `json:"unguarded"`   // let through without a guard
	WithoutKey  uint64 `json:"without_key"` // passed untouched
	Refused     uint64 `json:"refused"`     // 400 and 413
	Panics      uint64 `json:"panics"`      // of handlers
}

// counts are those of the front; the others are idem's.
type counts struct {
	inFlight, unavailable, unguarded, withoutKey, refused atomic.Uint64
}

// Stats returns the counters.
func (m *Middleware) Stats() Stats {
	c, d := &m.counts, &m.config.Counts
	return Stats{
		Run: d.Run.Load(), Replayed: d.Replayed.Load(), InFlight: c.inFlight.Load(), Mismatches: d.Mismatches.Load(),
		NotStored: d.NotStored.Load(), NotFinal: d.NotFinal.Load(), InDoubt: d.InDoubt.Load(), LeaseLost: d.LeaseLost.Load(),
		Unavailable: c.unavailable.Load(), Unguarded: c.unguarded.Load(), WithoutKey: c.withoutKey.Load(),
		Refused: c.refused.Load(), Panics: d.Panics.Load(),
	}
}
