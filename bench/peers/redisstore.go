package peers

import (
	"context"
	"errors"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/dedup"
	redisstore "github.com/firstseen/firstseen/stores/redis"
)

// redisStoreCandidates are our own shared store on the same server as the peer "redis":
// claims alone, which are to be compared with its SET NX EX, and what a consumer does.
func redisStoreCandidates() []bench.Candidate {
	modules := []string{"github.com/redis/go-redis/v9"}
	return []bench.Candidate{
		{
			Name: "redis-store-claims", About: "stores/redis on loopback, ClaimBatch alone, one script for 1,000 keys, no persistence",
			Class: bench.Memory, Modules: modules,
			Open: func(ctx context.Context, s bench.Setup) (bench.Target, error) { return openRedisStore(ctx, s, false) },
		},
		{
			Name: "redis-store", About: "stores/redis on loopback, ClaimBatch, then Commit of what is fresh, no persistence",
			Class: bench.Memory, Modules: modules,
			Open: func(ctx context.Context, s bench.Setup) (bench.Target, error) { return openRedisStore(ctx, s, true) },
		},
	}
}

// redisStoreTarget has the peer's server and client.
type redisStoreTarget struct {
	*redisTarget
	store   *redisstore.Store
	commits bool
}

func openRedisStore(ctx context.Context, s bench.Setup, commits bool) (bench.Target, error) {
	peer, err := openRedis(ctx, s)
	if err != nil {
		return nil, err
	}
	t := &redisStoreTarget{redisTarget: peer.(*redisTarget), commits: commits}
	// A claim that is never ended must count as seen for the whole run.
	if t.store, err = redisstore.New(t.client, redisstore.Options{Window: redisTTL, Lease: redisTTL}); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *redisStoreTarget) Admit(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	cs, err := t.store.ClaimBatch(ctx, make([]dedup.Claim, 0, len(keys)), keys)
	if err == nil && t.commits {
		err = t.store.Commit(ctx, cs...)
	}
	if err != nil {
		return vs, err
	}
	for i := range cs {
		vs = append(vs, verdictOf(cs[i].Verdict != dedup.Fresh))
	}
	return vs, nil
}
