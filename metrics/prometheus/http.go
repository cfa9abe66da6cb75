package fsprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/firstseen/firstseen/adapters/httpidem"
)

type httpCollector struct {
	stats func() httpidem.Stats
	page  page[httpidem.Stats]
}

// HTTP returns a collector for an HTTP middleware: stats is its method Stats.
// The labels, which may be nil, are added to every series.
func HTTP(stats func() httpidem.Stats, labels prometheus.Labels) prometheus.Collector {
	type S = httpidem.Stats
	c := &httpCollector{stats: stats, page: page[S]{prefix: "firstseen_http_", fixed: labels}}
	p := &c.page
	counter(p, "runs", "Handlers begun.", func(s *S) uint64 { return s.Run })
	counter(p, "replays", "Stored answers given again.", func(s *S) uint64 { return s.Replayed })
	counter(p, "in_flight", "Requests refused while a twin was running (409).", func(s *S) uint64 { return s.InFlight })
	counter(p, "mismatches", "Requests with a used key and another payload (422).", func(s *S) uint64 { return s.Mismatches })
	counter(p, "not_stored", "Retries whose answer is not there (409).", func(s *S) uint64 { return s.NotStored })
	counter(p, "not_final", "Answers after which the key was free again.", func(s *S) uint64 { return s.NotFinal })
	counter(p, "in_doubt", "Requests whose outcome is in doubt (409).", func(s *S) uint64 { return s.InDoubt })
	counter(p, "lease_lost", "Requests that another one took over (409).", func(s *S) uint64 { return s.LeaseLost })
	counter(p, "unavailable", "Requests refused while the store was down (503).", func(s *S) uint64 { return s.Unavailable })
	counter(p, "unguarded", "Requests let through without a guard.", func(s *S) uint64 { return s.Unguarded })
	counter(p, "without_key", "Requests without a key.", func(s *S) uint64 { return s.WithoutKey })
	counter(p, "refused", "Requests that are not valid (400 and 413).", func(s *S) uint64 { return s.Refused })
	counter(p, "panics", "Handlers that panicked.", func(s *S) uint64 { return s.Panics })
	return c
}

// Describe implements prometheus.Collector.
func (c *httpCollector) Describe(ch chan<- *prometheus.Desc) { c.page.describe(ch) }

// Collect implements prometheus.Collector.
func (c *httpCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	c.page.collect(ch, &s)
}
