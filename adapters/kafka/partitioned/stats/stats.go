// Package stats holds the numbers of a partitioned.Node, apart from it, so that
// what reads them does not link a Kafka client.
package stats

import (
	"time"

	"github.com/firstseen/firstseen/engine"
)

// A Node has counters since it was made. What a transaction that was aborted had
// counted is counted again with its records.
type Node struct {
	Fresh     uint64 `json:"fresh"`
	Duplicate uint64 `json:"duplicate"`
	NoKey     uint64 `json:"no_key"`    // copied without deduplication
	Misplaced uint64 `json:"misplaced"` // not in the partition that Kafka's partitioner gives their key

	Committed uint64 `json:"committed"` // transactions
	Aborted   uint64 `json:"aborted"`   // or their end is not known; the log says of each why
	Sessions  uint64 `json:"sessions"`  // memberships of the group; more than 1 after failures

	Loads       uint64 `json:"loads"`        // partitions whose log was read
	LoadedKeys  uint64 `json:"loaded_keys"`  // from the logs of marks
	LoadedBytes uint64 `json:"loaded_bytes"` // from the logs of marks
	Gaps        uint64 `json:"gaps"`         // see partitioned.Options.OnGap

	Partitions []Partition `json:"partitions"` // those that the node has now, by number
}

// A Partition is one that the node has.
type Partition struct {
	ID     int32  `json:"id"`
	Ready  bool   `json:"ready"` // false: its log is being read, and nothing is copied
	Replay Replay `json:"replay"`
	// Engine is that of its memory; zero until Ready.
	Engine engine.Stats `json:"engine"`
}

// A Replay says how far the reading of a partition's log has come.
type Replay struct {
	Keys     uint64        `json:"keys"`
	Bytes    uint64        `json:"bytes"`
	Passed   int64         `json:"passed"` // offsets of the log
	Left     int64         `json:"left"`   // offsets of the log
	Took     time.Duration `json:"took_ns"`
	TimeLeft time.Duration `json:"time_left_ns"` // at the rate so far; 0: done, or not known yet
}
