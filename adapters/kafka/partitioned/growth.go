package partitioned

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka/marks"
)

// complainEvery is how often it is logged that topics lack a partition.
const complainEvery = time.Minute

// marksRecord returns a record for the log of marks.
func (n *Node) marksRecord(id int32, value []byte) *kgo.Record {
	return marksRecord(n.o.Marks, id, value, int(n.partitions.Load()))
}

func marksRecord(topic string, id int32, value []byte, partitions int) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: id, Value: value,
		Headers: []kgo.RecordHeader{{Key: marks.PartitionsHeader, Value: strconv.AppendInt(nil, int64(partitions), 10)}}}
}

// partitionsOf returns how many partitions the input had when a record of marks was
// written, or 0.
func partitionsOf(r *kgo.Record) int {
	for _, h := range r.Headers {
		if h.Key == marks.PartitionsHeader {
			n, err := strconv.Atoi(string(h.Value))
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// count asks how many partitions the input has.
func (s *session) count(ctx context.Context) {
	topics, err := s.adm.ListTopics(ctx, s.o.Input)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		s.o.Logger.Debug("partitioned: the number of partitions is not known", "topic", s.o.Input, "error", err)
		return
	}
	s.counted(len(topics[s.o.Input].Partitions))
}

// counted takes down how many partitions the input has. Where it has become more, every
// open directory lacks the marks of keys that have moved into its partition.
func (n *Node) counted(partitions int) {
	for {
		had := n.partitions.Load()
		if int(had) >= partitions {
			return
		}
		// The number goes first: a load that ends after the loop below compares with it.
		if n.partitions.CompareAndSwap(had, int32(partitions)) {
			break
		}
	}
	n.mu.Lock()
	memories := make([]*memory, 0, len(n.mu.memories))
	for _, m := range n.mu.memories {
		memories = append(memories, m)
	}
	n.mu.Unlock()
	for _, m := range memories {
		m.compare()
	}
}

// compare reports a gap when the input has more partitions than the directory knows of,
// and has the directory know of them.
func (m *memory) compare() {
	m.mu.Lock()
	had, has := m.position.Partitions, int(m.n.partitions.Load())
	open := m.e != nil
	if open {
		m.position.Partitions = has
	}
	m.mu.Unlock()
	if open && had > 0 && had < has {
		m.n.gap(m.id, fmt.Sprintf("the input had %d partitions and has %d now: keys have moved to other partitions than their marks", had, has))
	}
}

// awaitTopics waits until the other topics have a partition that was added to the input.
// Its records wait, and no others do.
func (s *session) awaitTopics(ctx context.Context, id int32) error {
	for told := (time.Time{}); ; {
		topics, err := listTopics(ctx, s.adm, s.o)
		if err == nil {
			var n int
			n, err = checkOutputs(topics, s.o)
			s.counted(n)
			if err == nil {
				err = checkLog(topics, s.o, n)
			}
			if err == nil && int(id) < n {
				return nil
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && time.Since(told) > complainEvery {
			told = time.Now()
			s.o.Logger.Error("partitioned: the records of a partition that was added wait", "partition", id, "error", err)
		}
		pause(ctx, restartAfter)
	}
}
