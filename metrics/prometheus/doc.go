// Package fsprom exports the counters of firstseen to Prometheus.
//
//	registry.MustRegister(
//		fsprom.Engine(e.Stats, nil),
//		fsprom.Consumer(c.Snapshot, nil),
//		fsprom.HTTP(m.Stats, nil),
//		fsprom.Kafka(n.Stats, nil),
//		fsprom.KafkaAdapter(a.Misplaced, nil),
//		fsprom.RPC(s.Stats, nil),
//	)
//
// # What it guarantees
//
// Every number of engine.Stats, consume.Counts, httpidem.Stats, rpcidem.Stats and
// partitioned.Stats is there, in base units: seconds, bytes, ratios from 0 to 1, and
// kafka.Adapter's count of misplaced records. Counters start at 0 when the engine is opened, or the consumer or middleware is made. An engine that is
// closed exports nothing, so that its counters don't seem to fall to 0.
//
// # How it works
//
// A scrape calls the function it was given once; nothing happens between scrapes
// and nothing is added to the way of a message. For an engine that costs about
// a millisecond.
//
// # Who may call at once
//
// A collector may be used by any number of registries and goroutines at once.
// Two collectors of one kind in one registry need different constant labels.
//
// # What it does not do
//
// It has no histogram of single calls: the engine keeps quantiles of its own
// since Open, and those are exported as gauges. It serves no HTTP: see promhttp.
package fsprom
