package fsprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/firstseen/firstseen/adapters/consume"
)

type consumerCollector struct {
	snapshot func() []consume.Counts
	page     page[consume.Counts]
}

// Consumer returns a collector for a consumer: snapshot is its method Snapshot.
// Each scope has its series. The label consumer_instance is the scope's instance:
// the label instance belongs to Prometheus itself. The labels given, which may be
// nil, are added to every series.
func Consumer(snapshot func() []consume.Counts, labels prometheus.Labels) prometheus.Collector {
	type C = consume.Counts
	c := &consumerCollector{snapshot: snapshot, page: page[C]{
		prefix: "firstseen_consume_", labels: []string{"application", "topic", "tag", "consumer_instance"}, fixed: labels,
	}}
	p := &c.page
	counterBy(p, "messages", "Messages, by what the guard said.", "verdict",
		part[C]{"fresh", func(c *C) uint64 { return c.Fresh }},
		part[C]{"duplicate", func(c *C) uint64 { return c.Duplicate }},
		part[C]{"in_flight", func(c *C) uint64 { return c.InFlight }},
		part[C]{"unknown", func(c *C) uint64 { return c.Unknown }},
		part[C]{"not_asked", func(c *C) uint64 { return c.NotAsked }})
	counterBy(p, "decisions", "Messages, by what the broker was told.", "action",
		part[C]{"ack", func(c *C) uint64 { return c.Acked }},
		part[C]{"retry", func(c *C) uint64 { return c.Retried }},
		part[C]{"reject", func(c *C) uint64 { return c.Rejected }})
	counter(p, "unguarded", "Messages that a policy let through.", func(c *C) uint64 { return c.Unguarded })
	counter(p, "no_key", "Messages without a valid key.", func(c *C) uint64 { return c.NoKey })
	counter(p, "handler_failures", "Handlers that returned an error.", func(c *C) uint64 { return c.Failed })
	counter(p, "handler_panics", "Handlers that panicked.", func(c *C) uint64 { return c.Panicked })
	counter(p, "lease_lost", "Messages handled while somebody else held the key by then.", func(c *C) uint64 { return c.LeaseLost })
	counter(p, "not_marked", "Messages handled whose commit failed.", func(c *C) uint64 { return c.NotMarked })
	counter(p, "late_marks", "Claims that were lost and whose keys are marked all the same.", func(c *C) uint64 { return c.LateMarks })
	counter(p, "store_down", "Messages for which the guard gave an error.", func(c *C) uint64 { return c.StoreDown })
	counter(p, "waits", "Messages that waited in place for another holder.", func(c *C) uint64 { return c.Waited })
	return c
}

// Describe implements prometheus.Collector.
func (c *consumerCollector) Describe(ch chan<- *prometheus.Desc) { c.page.describe(ch) }

// Collect implements prometheus.Collector.
func (c *consumerCollector) Collect(ch chan<- prometheus.Metric) {
	all := c.snapshot()
	for i := range all {
		s := all[i].Scope
		c.page.collect(ch, &all[i], s.Application, s.Topic, s.Tag, s.Instance)
	}
}
