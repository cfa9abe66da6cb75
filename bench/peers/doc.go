// Package peers holds what a user would otherwise reach for to drop
// duplicates, as candidates for package bench: a Go map, embedded stores,
// filters, and database servers. Each uses the other project's library or
// server through its public interface, with the options that its own
// documentation or a known user recommends; [bench.Candidate.About] names them.
//
// Servers are started on a free port of the loopback interface, with their data
// in the run's directory, and are stopped by Close. A server that isn't
// installed gives an error that wraps [bench.ErrNotAvailable].
//
// Targets may be called by several goroutines at once, as bench.Target asks.
package peers

import (
	"slices"

	"github.com/firstseen/firstseen/bench"
)

// Candidates lists all peers, in the order in which reports show them, and our own
// shared stores behind the servers that they use.
func Candidates() []bench.Candidate {
	return slices.Concat([]bench.Candidate{
		mapCandidate(),
		watermillCandidate(),
		bloomPairCandidate(),
		badgerCandidate("badger", rudderOptions, bench.Kill,
			"Badger, options and calls as RudderStack's deduplication: Get a key, then one transaction with TTL"),
		badgerCandidate("badger-default", defaultOptions, bench.Kill,
			"Badger, default options, the same calls"),
		badgerCandidate("badger-sync", syncOptions, bench.Power,
			"Badger, RudderStack's options but SyncWrites, the same calls"),
		pebbleCandidate("pebble", false, bench.Clean),
		pebbleCandidate("pebble-sync", true, bench.Power),
		redisCandidate(),
		mariadbCandidate(),
		postgresCandidate(),
	}, redisStoreCandidates(), sqlStoreCandidates())
}
