package kafka

import (
	"context"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// Guards opens the guard of a partition, before the first of its records is handled.
// It may take its time, for example to read what earlier owners have marked; ctx
// ends with the partition. done is called when no handler of the partition runs any
// more. After an error Guards is called again.
type Guards func(ctx context.Context, topic string, partition int32) (g dedup.Guard, done func(), err error)

// openGuard gives the partition its guard, where each has one of its own. It returns
// what ends it, or nil when the partition stopped first.
func (p *partition) openGuard() (done func()) {
	if p.a.o.Guards == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	go func() { // ends with this function
		select {
		case <-p.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	for attempt := 0; ; attempt++ {
		g, done, err := p.a.o.Guards(ctx, p.topic, p.place.partition)
		if err == nil {
			p.ctx = context.WithValue(p.ctx, guardKey{}, g)
			return done
		}
		if ctx.Err() != nil {
			return nil
		}
		p.a.o.Logger.Error("kafka: a partition's guard can't be opened, its records wait", "topic", p.topic,
			"partition", p.place.partition, "error", err)
		timer := time.NewTimer(p.a.o.RetryAfter << min(attempt, 5))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// guardKey is where a partition's context has its guard.
type guardKey struct{}

// byPartition hands each call to the guard of the partition that it comes from: the
// contexts of all calls are made of the partition's.
type byPartition struct{}

func guardOf(ctx context.Context) dedup.Guard { return ctx.Value(guardKey{}).(dedup.Guard) }

func (byPartition) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	return guardOf(ctx).Claim(ctx, key)
}

func (byPartition) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	return guardOf(ctx).ClaimBatch(ctx, cs, keys)
}

func (byPartition) Commit(ctx context.Context, claims ...dedup.Claim) error {
	return guardOf(ctx).Commit(ctx, claims...)
}

func (byPartition) Release(ctx context.Context, claims ...dedup.Claim) error {
	return guardOf(ctx).Release(ctx, claims...)
}

func (byPartition) Extend(ctx context.Context, c dedup.Claim, d time.Duration) (dedup.Claim, error) {
	return guardOf(ctx).Extend(ctx, c, d)
}
