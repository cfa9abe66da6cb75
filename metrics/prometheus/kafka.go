package fsprom

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firstseen/firstseen/adapters/kafka/partitioned/stats"
)

type kafkaCollector struct {
	stats      func() stats.Node
	node       page[stats.Node]
	partitions page[stats.Partition]
	engines    engineCollector
}

// KafkaAdapter returns a collector for a kafka.Adapter, beside that of its Consumer:
// misplaced is its method Misplaced. The labels given, which may be nil, are added to
// every series.
func KafkaAdapter(misplaced func() uint64, labels prometheus.Labels) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "firstseen_kafka_adapter_misplaced_total", Help: "Records that lie in another partition than that of their key.", ConstLabels: labels,
	}, func() float64 { return float64(misplaced()) })
}

// Kafka returns a collector for a partitioned.Node or partitioned.Memories: snapshot is
// their method Stats. What is said of a partition, its engine's series included, has the
// label partition. The labels given, which may be nil, are added to every series.
func Kafka(snapshot func() stats.Node, labels prometheus.Labels) prometheus.Collector {
	type N = stats.Node
	type P = stats.Partition
	c := &kafkaCollector{
		stats:      snapshot,
		node:       page[N]{prefix: "firstseen_kafka_", fixed: labels},
		partitions: page[P]{prefix: "firstseen_kafka_", labels: []string{"partition"}, fixed: labels},
		engines:    enginePages(labels, "partition"),
	}
	n := &c.node
	counterBy(n, "records", "Records, by verdict. Those of an aborted transaction count again when they come again.", "verdict",
		part[N]{"fresh", func(s *N) uint64 { return s.Fresh }},
		part[N]{"duplicate", func(s *N) uint64 { return s.Duplicate }},
		part[N]{"no_key", func(s *N) uint64 { return s.NoKey }})
	counter(n, "misplaced", "Records that lie in another partition than that of their key.", func(s *N) uint64 { return s.Misplaced })
	counterBy(n, "transactions", "Transactions, by their end.", "end",
		part[N]{"committed", func(s *N) uint64 { return s.Committed }},
		part[N]{"aborted", func(s *N) uint64 { return s.Aborted }})
	counter(n, "sessions", "Times the group was joined; each after the first follows a failure.", func(s *N) uint64 { return s.Sessions })
	counter(n, "loads", "Partitions whose log of marks was read.", func(s *N) uint64 { return s.Loads })
	counter(n, "loaded_keys", "Keys read from logs of marks.", func(s *N) uint64 { return s.LoadedKeys })
	counter(n, "loaded_bytes", "Bytes of marks read from their logs.", func(s *N) uint64 { return s.LoadedBytes })
	counter(n, "gaps", "Times that marks within the window were missing from a log.", func(s *N) uint64 { return s.Gaps })

	p := &c.partitions
	gauge(p, "partition_ready", "1: its records are copied; 0: its log is being read.", func(s *P) float64 { return truth(s.Ready) })
	gauge(p, "replay_keys", "Keys read by the last load of the log.", func(s *P) uint64 { return s.Replay.Keys })
	gauge(p, "replay_bytes", "Bytes of marks read by the last load of the log.", func(s *P) uint64 { return s.Replay.Bytes })
	gauge(p, "replay_passed_offsets", "Offsets of the log that its last load has passed.", func(s *P) int64 { return s.Replay.Passed })
	gauge(p, "replay_left_offsets", "Offsets of the log that are still to be read.", func(s *P) int64 { return s.Replay.Left })
	gauge(p, "replay_seconds", "Duration of the last load of the log.", func(s *P) float64 { return s.Replay.Took.Seconds() })
	gauge(p, "replay_left_seconds", "Time that the load will still take, at its rate so far.",
		func(s *P) float64 { return s.Replay.TimeLeft.Seconds() })
	return c
}

// Describe implements prometheus.Collector. It says nothing, which makes the collector an
// unchecked one: a registry that knew of the label partition would refuse the collectors of
// other engines, whose series have the same names without it.
func (c *kafkaCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *kafkaCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	c.node.collect(ch, &s)
	for i := range s.Partitions {
		p := &s.Partitions[i]
		id := strconv.Itoa(int(p.ID))
		c.partitions.collect(ch, p, id)
		c.engines.collect(ch, &p.Engine, id)
	}
}
