package fsprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/firstseen/firstseen/adapters/rpcidem"
)

type rpcCollector struct {
	stats func() rpcidem.Stats
	page  page[rpcidem.Stats]
}

// RPC returns a collector for an RPC server: stats is its method Stats.
// The labels, which may be nil, are added to every series.
func RPC(stats func() rpcidem.Stats, labels prometheus.Labels) prometheus.Collector {
	type S = rpcidem.Stats
	c := &rpcCollector{stats: stats, page: page[S]{prefix: "firstseen_rpc_", fixed: labels}}
	p := &c.page
	counter(p, "runs", "Handlers begun.", func(s *S) uint64 { return s.Run })
	counter(p, "replays", "Stored answers given again.", func(s *S) uint64 { return s.Replayed })
	counter(p, "in_flight", "Calls refused while a twin was running.", func(s *S) uint64 { return s.InFlight })
	counter(p, "mismatches", "Calls with the key of another one.", func(s *S) uint64 { return s.Mismatches })
	counter(p, "not_stored", "Retries whose answer is not there.", func(s *S) uint64 { return s.NotStored })
	counter(p, "not_final", "Answers after which the key was free again.", func(s *S) uint64 { return s.NotFinal })
	counter(p, "in_doubt", "Calls whose outcome is in doubt.", func(s *S) uint64 { return s.InDoubt })
	counter(p, "lease_lost", "Calls that another one took over.", func(s *S) uint64 { return s.LeaseLost })
	counter(p, "unavailable", "Calls refused while the store was down.", func(s *S) uint64 { return s.Unavailable })
	counter(p, "unguarded", "Calls let through without a guard.", func(s *S) uint64 { return s.Unguarded })
	counter(p, "without_key", "Calls without a key.", func(s *S) uint64 { return s.WithoutKey })
	counter(p, "refused", "Calls that are not valid.", func(s *S) uint64 { return s.Refused })
	counter(p, "panics", "Handlers that panicked.", func(s *S) uint64 { return s.Panics })
	return c
}

// Describe implements prometheus.Collector.
func (c *rpcCollector) Describe(ch chan<- *prometheus.Desc) { c.page.describe(ch) }

// Collect implements prometheus.Collector.
func (c *rpcCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	c.page.collect(ch, &s)
}
