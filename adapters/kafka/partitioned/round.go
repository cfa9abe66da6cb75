package partitioned

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka/marks"
	"github.com/firstseen/firstseen/dedup"
)

// marksBytes is the most a record of marks takes, below Kafka's limit of 1 MB.
const marksBytes = 900_000

// A session is one membership of the group.
type session struct {
	*Node
	kafka *kgo.GroupTransactSession
	adm   *kadm.Client
	ctx   context.Context
	fail  context.CancelCauseFunc // ends ctx
}

// A share is a partition's part of a round.
type share struct {
	m    *memory
	keys [][]byte // fresh, in their order
	end  atomic.Int64
}

// round polls and ends one transaction. After an error nothing is known about its
// outcome, and the session must end.
func (s *session) round(ctx context.Context) error {
	fetches := s.kafka.PollRecords(ctx, s.o.Batch)
	if ctx.Err() != nil {
		return nil
	}
	fetches.EachError(func(topic string, id int32, err error) {
		s.o.Logger.Warn("partitioned: fetch", "topic", topic, "partition", id, "error", err)
	})
	if fetches.NumRecords() == 0 {
		return nil
	}
	if err := s.kafka.Begin(); err != nil {
		return fmt.Errorf("partitioned: beginning a transaction: %w", err)
	}
	var shares []*share
	defer func() {
		for _, sh := range shares {
			sh.m.mu.Unlock()
		}
	}()
	var failed error
	promise := kgo.AbortingFirstErrPromise(s.kafka.Client())
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if failed != nil || len(p.Records) == 0 {
			return
		}
		sh, err := s.lock(ctx, p.Partition)
		if err == nil {
			shares = append(shares, sh)
			err = s.handle(ctx, sh, p.Records, promise)
		}
		failed = err
	})
	// A transaction that was begun is ended, whoever stops.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := promise.Err(); failed == nil {
		failed = err
	}
	committed, err := s.kafka.End(end, kgo.TransactionEndTry(failed == nil))
	switch {
	case err != nil:
		return fmt.Errorf("partitioned: ending a transaction: %w", err)
	case failed != nil:
		s.aborted.Add(1)
		return failed
	case !committed: // a rebalance; the records come again
		s.aborted.Add(1)
		return nil
	}
	s.committed.Add(1)
	for _, sh := range shares {
		if err := sh.m.markLocked(end, sh.keys, sh.end.Load()); err != nil {
			return err
		}
	}
	return nil
}

// lock takes a partition's memory for a round.
func (s *session) lock(ctx context.Context, id int32) (*share, error) {
	s.mu.Lock()
	m := s.mu.memories[id]
	s.mu.Unlock()
	if m == nil {
		return nil, fmt.Errorf("partitioned: records of partition %d, which was never assigned", id)
	}
	select {
	case <-m.ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	if m.e == nil {
		m.mu.Unlock()
		return nil, fmt.Errorf("partitioned: partition %d was lost", id)
	}
	return &share{m: m}, nil
}

// handle produces the outputs of a partition's fresh records, and their marks.
func (s *session) handle(ctx context.Context, sh *share, rs []*kgo.Record, promise *kgo.FirstErrPromise) error {
	met := make(map[string]struct{}, len(rs))
	for _, r := range rs {
		key := s.key(r)
		if len(key) > 0 {
			_, twin := met[string(key)]
			if !twin {
				var err error
				if twin, err = sh.m.e.Contains(ctx, key); err != nil {
					return fmt.Errorf("partitioned: looking up a key of partition %d: %w", sh.m.id, err)
				}
			}
			if twin {
				s.duplicate.Add(1)
				continue
			}
			met[string(key)] = struct{}{}
			sh.keys = append(sh.keys, key)
			s.fresh.Add(1)
		} else {
			s.noKey.Add(1)
		}
		outs, err := s.o.Handle(ctx, r)
		if err != nil {
			return fmt.Errorf("partitioned: handling offset %d of partition %d: %w", r.Offset, r.Partition, err)
		}
		for _, out := range outs {
			out.Topic, out.Partition = s.o.Output, r.Partition
			s.kafka.Produce(ctx, out, promise.Promise())
		}
	}
	s.log(ctx, sh, promise)
	return nil
}

// key returns a record's key, or none.
func (s *session) key(r *kgo.Record) []byte {
	key := r.Key
	if s.o.Key != nil {
		var err error
		if key, err = s.o.Key(r); err != nil {
			return nil
		}
	}
	if len(key) > dedup.MaxKeyLen {
		return nil
	}
	return key
}

// log produces the records of a partition's marks.
func (s *session) log(ctx context.Context, sh *share, promise *kgo.FirstErrPromise) {
	now := time.Now()
	for keys := sh.keys; len(keys) > 0; {
		value, n := marks.Append(nil, now, keys, marksBytes)
		keys = keys[n:]
		done := promise.Promise()
		s.kafka.Produce(ctx, &kgo.Record{Topic: s.o.Marks, Partition: sh.m.id, Value: value}, func(r *kgo.Record, err error) {
			if err == nil {
				sh.end.Store(max(sh.end.Load(), r.Offset+1)) // promises follow each other
			}
			done(r, err)
		})
	}
}
