package partitioned

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka"
	"github.com/firstseen/firstseen/adapters/kafka/marks"
	"github.com/firstseen/firstseen/dedup"
)

// marksBytes is the most a record of marks takes, below Kafka's limit of 1 MB.
const marksBytes = 900_000

// handle produces the outputs of a partition's fresh records, and their marks.
func (s *session) handle(ctx context.Context, sh *share, rs []*kgo.Record, promise *kgo.FirstErrPromise) error {
	known, err := s.known(ctx, sh, rs)
	if err != nil {
		return err
	}
	for i, r := range rs {
		if known[i] && s.o.Duplicates != "" {
			s.produce(ctx, s.o.Duplicates, r.Partition, copied(r), promise)
		}
		if known[i] && !s.o.Observe {
			continue
		}
		outs, err := s.o.Handle(ctx, r)
		if err != nil {
			return fmt.Errorf("partitioned: handling offset %d of partition %d: %w", r.Offset, r.Partition, err)
		}
		for _, out := range outs {
			s.produce(ctx, s.o.Output, r.Partition, out, promise)
		}
	}
	s.log(ctx, sh, promise)
	return nil
}

func (s *session) produce(ctx context.Context, topic string, id int32, out *kgo.Record, promise *kgo.FirstErrPromise) {
	out.Topic, out.Partition = topic, id
	s.kafka.Produce(ctx, out, promise.Promise())
}

// known reports of each record whether its key is marked or came earlier in the round,
// and takes the other keys down.
func (s *session) known(ctx context.Context, sh *share, rs []*kgo.Record) ([]bool, error) {
	known, keys, at := make([]bool, len(rs)), make([][]byte, 0, len(rs)), make([]int, 0, len(rs))
	for i, r := range rs {
		key := s.o.key(r)
		if len(key) == 0 {
			s.noKey.Add(1)
			continue
		}
		s.place(r, key)
		keys, at = append(keys, key), append(at, i)
	}
	verdicts, err := sh.m.e.ContainsBatch(ctx, make([]dedup.Verdict, 0, len(keys)), keys)
	if err == nil && slices.Contains(verdicts, dedup.Unknown) {
		err = fmt.Errorf("a key may have been marked in a lost part of the window: %w", dedup.ErrCorrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("partitioned: looking up keys of partition %d: %w: %w", sh.m.id, errMemory, err)
	}
	met := make(map[string]struct{}, len(keys))
	sh.keys = make([][]byte, 0, len(keys))
	for k, key := range keys {
		_, twin := met[string(key)]
		if twin || verdicts[k] == dedup.Duplicate {
			known[at[k]] = true
			continue
		}
		met[string(key)] = struct{}{}
		sh.keys = append(sh.keys, key)
	}
	s.fresh.Add(uint64(len(met)))
	s.duplicate.Add(uint64(len(keys) - len(met)))
	return known, nil
}

// key returns a record's key, or none.
func (o Options) key(r *kgo.Record) []byte {
	key := r.Key
	if o.Key != nil {
		var err error
		if key, err = o.Key(r); err != nil {
			return nil
		}
	}
	if len(key) > dedup.MaxKeyLen {
		return nil
	}
	return key
}

// place counts a record that is not in the partition of its key.
func (s *session) place(r *kgo.Record, key []byte) {
	if s.o.AnyPartition || kafka.KeyPartition(key, int(s.partitions.Load())) == r.Partition {
		return
	}
	if s.misplaced.Add(1) == 1 {
		s.o.Logger.Warn("partitioned: records don't lie in the partition of their key for deduplication, so duplicates may pass in other partitions;"+
			" have producers partition by that key (murmur2), or set AnyPartition", "topic", r.Topic, "partition", r.Partition,
			"offset", r.Offset, "partition_of_key", kafka.KeyPartition(key, int(s.partitions.Load())))
	}
}

// log produces the records of a partition's marks.
func (s *session) log(ctx context.Context, sh *share, promise *kgo.FirstErrPromise) {
	now := time.Now()
	for keys := sh.keys; len(keys) > 0; {
		value, n := marks.Append(nil, now, keys, marksBytes)
		keys = keys[n:]
		done := promise.Promise()
		s.kafka.Produce(ctx, s.marksRecord(sh.m.id, value), func(r *kgo.Record, err error) {
			if err == nil {
				sh.end.Store(max(sh.end.Load(), r.Offset+1)) // promises follow each other
			}
			done(r, err)
		})
	}
}
