package partitioned

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	// errLost: a partition went to somebody else while its records were on the way.
	errLost = errors.New("the partition was lost")
	// errMemory: a directory fails, and has to be opened again.
	errMemory = errors.New("its memory failed")
)

// A session is one membership of the group.
type session struct {
	*Node
	kafka *kgo.GroupTransactSession
	adm   *kadm.Client
	plain *kgo.Client // adm's, in no transaction
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
	case errors.Is(failed, errMemory):
		s.aborted.Add(1)
		return failed
	case failed != nil: // the records come again
		s.aborted.Add(1)
		if !errors.Is(failed, errLost) && ctx.Err() == nil {
			s.o.Logger.Warn("partitioned: a transaction was aborted, its records come again", "error", failed)
			pause(ctx, restartAfter)
		}
		return nil
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
		return nil, fmt.Errorf("partitioned: partition %d: %w", id, errLost)
	}
	return &share{m: m}, nil
}
