package idem

import "sync/atomic"

// Counts are what this package counts. The front reads them.
type Counts struct {
	Run, Replayed, Mismatches, NotStored, NotFinal atomic.Uint64
	InDoubt, LeaseLost, Panics                     atomic.Uint64
}
