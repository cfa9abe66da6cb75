package partitioned_test

import (
	"context"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// The suite wraps one guard, to count and to kill, and memories give one for each
// partition. So via sends each call through the suite's guard, which ends in through,
// and the partition's guard comes along in the context.
type (
	viaKey struct{}
	via    struct{ suite, memory dedup.Guard }
	// through is what the suite wraps.
	through struct{}
)

func (v via) with(ctx context.Context) context.Context {
	return context.WithValue(ctx, viaKey{}, v.memory)
}

func memoryOf(ctx context.Context) dedup.Guard { return ctx.Value(viaKey{}).(dedup.Guard) }

func (v via) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	return v.suite.Claim(v.with(ctx), key)
}

func (v via) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	return v.suite.ClaimBatch(v.with(ctx), cs, keys)
}

func (v via) Commit(ctx context.Context, claims ...dedup.Claim) error {
	return v.suite.Commit(v.with(ctx), claims...)
}

func (v via) Release(ctx context.Context, claims ...dedup.Claim) error {
	return v.suite.Release(v.with(ctx), claims...)
}

func (v via) Extend(ctx context.Context, c dedup.Claim, d time.Duration) (dedup.Claim, error) {
	return v.suite.Extend(v.with(ctx), c, d)
}

func (through) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	return memoryOf(ctx).Claim(ctx, key)
}

func (through) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	return memoryOf(ctx).ClaimBatch(ctx, cs, keys)
}

func (through) Commit(ctx context.Context, claims ...dedup.Claim) error {
	return memoryOf(ctx).Commit(ctx, claims...)
}

func (through) Release(ctx context.Context, claims ...dedup.Claim) error {
	return memoryOf(ctx).Release(ctx, claims...)
}

func (through) Extend(ctx context.Context, c dedup.Claim, d time.Duration) (dedup.Claim, error) {
	return memoryOf(ctx).Extend(ctx, c, d)
}
