package kafka

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// partitionsAge is how long a topic's number of partitions is believed.
const partitionsAge = time.Minute

// A placement compares partitions of records with those of their keys.
type placement struct {
	logger    *slog.Logger
	misplaced atomic.Uint64

	mu struct {
		sync.Mutex
		topics map[string]*topicPlacement
	}
}

type topicPlacement struct {
	partitions int // 0: not known
	asked      time.Time
	warned     bool
}

// check counts a record whose partition is not that of its key.
func (p *placement) check(ctx context.Context, cl *kgo.Client, r *kgo.Record, key []byte, off bool) {
	if off || len(key) == 0 {
		return
	}
	n := p.partitions(ctx, cl, r)
	if n == 0 || KeyPartition(key, n) == r.Partition {
		return
	}
	p.misplaced.Add(1)
	p.mu.Lock()
	t := p.mu.topics[r.Topic]
	warn := !t.warned
	t.warned = true
	p.mu.Unlock()
	if warn {
		p.logger.Warn("kafka: records don't lie in the partition of their key for deduplication, so duplicates may reach two consumers;"+
			" have producers partition by that key (murmur2), or set AnyPartition", "topic", r.Topic, "partition", r.Partition,
			"offset", r.Offset, "partition_of_key", KeyPartition(key, n))
	}
}

// partitions returns the number of a topic's partitions, or 0.
func (p *placement) partitions(ctx context.Context, cl *kgo.Client, r *kgo.Record) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.topics == nil {
		p.mu.topics = map[string]*topicPlacement{}
	}
	t := p.mu.topics[r.Topic]
	if t == nil {
		t = &topicPlacement{}
		p.mu.topics[r.Topic] = t
	}
	if now := time.Now(); t.asked.IsZero() || now.Sub(t.asked) > partitionsAge {
		t.asked = now
		details, err := kadm.NewClient(cl).ListTopics(ctx, r.Topic)
		if err == nil {
			err = details.Error()
		}
		if err != nil {
			p.logger.Debug("kafka: the number of partitions is not known", "topic", r.Topic, "error", err)
			return t.partitions
		}
		t.partitions = len(details[r.Topic].Partitions)
	}
	return t.partitions
}

// murmur2 places records as Kafka's own partitioner does. For records with a key it is a
// function of the key alone.
var murmur2 = kgo.StickyKeyPartitioner(nil).ForTopic("")

// KeyPartition returns the partition that Kafka's own partitioner gives a key of at
// least one byte, of n partitions.
func KeyPartition(key []byte, n int) int32 {
	return int32(murmur2.Partition(&kgo.Record{Key: key}, n))
}
