package sqlstore

import (
	"sync/atomic"

	"github.com/firstseen/firstseen/dedup"
)

// Stats counts what a store has done since New. Other processes have counts of
// their own.
type Stats struct {
	// Verdicts of claimed keys, one for each key of a call. Unknown is a key that
	// is invalid or whose call failed.
	Fresh, Duplicate, InFlight, Unknown uint64
	// Claims that were ended or extended, and those that were no longer held.
	Committed, Released, Extended, Lost uint64
	// Admitted are the keys that AdmitTx marked. Their transactions may have been
	// rolled back since.
	Admitted uint64
	// Swept rows, and sweeps that failed.
	Swept, SweepErrors uint64
	// Retries of statements after deadlocks, serialization failures and rows that
	// changed while they were looked at.
	Retries uint64
	// Errors are calls that failed, except for errors of single keys or claims.
	Errors uint64
}

type counters struct {
	verdicts                            [dedup.InFlight + 1]atomic.Uint64
	committed, released, extended, lost atomic.Uint64
	admitted, swept, sweepErrors        atomic.Uint64
	retries, errors                     atomic.Uint64
}

// Stats returns the counts so far. They are read one after the other, so sums
// may be off by the calls that are under way.
func (s *Store) Stats() Stats {
	c := &s.stats
	return Stats{
		Fresh: c.verdicts[dedup.Fresh].Load(), Duplicate: c.verdicts[dedup.Duplicate].Load(),
		InFlight: c.verdicts[dedup.InFlight].Load(), Unknown: c.verdicts[dedup.Unknown].Load(),
		Committed: c.committed.Load(), Released: c.released.Load(), Extended: c.extended.Load(), Lost: c.lost.Load(),
		Admitted: c.admitted.Load(), Swept: c.swept.Load(), SweepErrors: c.sweepErrors.Load(),
		Retries: c.retries.Load(), Errors: c.errors.Load(),
	}
}
