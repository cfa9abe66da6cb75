package partitioned

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	// errLost: a partition went to somebody else while its records were on the way.
	errLost = errors.New("the partition was lost")
	// errTaken: a partition went to somebody else before the transaction ended.
	errTaken = errors.New("partitioned: partitions went to other members of the group")
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

	// taken: partitions went since the last transaction ended. The client commits none then,
	// also when it had not begun.
	taken atomic.Bool
	// groupFailed is the error that the membership failed with since then, if any.
	groupFailed atomic.Pointer[error]
}

// OnGroupManageError implements kgo.HookGroupManageError.
func (s *session) OnGroupManageError(err error) { s.groupFailed.Store(&err) }

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
	refused := s.refused()
	switch {
	case err != nil:
		err = fmt.Errorf("partitioned: ending a transaction: %w", err)
		s.abortedBy(ctx, err)
		return err
	case errors.Is(failed, errMemory):
		s.abortedBy(ctx, failed)
		return failed
	case failed == nil && !committed:
		failed = refused
	}
	if failed != nil { // the records come again
		s.abortedBy(ctx, failed)
		if !rebalanced(failed) {
			pause(ctx, restartAfter)
		}
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

// refused says why the client did not commit a transaction in which nothing failed, and
// forgets it.
func (s *session) refused() error {
	taken, failed := s.taken.Swap(false), s.groupFailed.Swap(nil)
	switch {
	case taken:
		return errTaken
	case failed != nil:
		return fmt.Errorf("partitioned: the membership of the group failed: %w", *failed)
	default: // the client tells its own logger only
		return errors.New("partitioned: the group's coordinator did not take the offsets or a heartbeat; the client's log (kgo.WithLogger) says why")
	}
}

// rebalanced says whether a transaction was aborted because partitions went elsewhere.
func rebalanced(cause error) bool { return errors.Is(cause, errLost) || errors.Is(cause, errTaken) }

// abortedBy counts a transaction that was aborted, or whose end is not known, and logs the
// cause. That partitions go, and that the node stops, is nothing to warn of.
func (s *session) abortedBy(ctx context.Context, cause error) {
	s.aborted.Add(1)
	level := slog.LevelWarn
	if rebalanced(cause) || ctx.Err() != nil {
		level = slog.LevelInfo
	}
	s.o.Logger.Log(ctx, level, "partitioned: a transaction was aborted, its records come again", "error", cause)
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
