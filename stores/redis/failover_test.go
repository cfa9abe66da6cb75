package redisstore

import (
	"context"
	"encoding/binary"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/dedup/guardtest"
)

// long says whether the tests take their time.
var long = os.Getenv("FIRSTSEEN_SERVERS") == "long"

// TestHole13ClusterMasterKilled: while clients mark keys, a master is killed and its
// replica takes over. No mark is missed, or a gap is reported.
func TestHole13ClusterMasterKilled(t *testing.T) {
	t.Parallel()
	masters, client := startCluster(t)
	failover(t, client, masters[0])
}

// TestHole13SentinelFailover: the same with Sentinel.
func TestHole13SentinelFailover(t *testing.T) {
	t.Parallel()
	master, client := startSentinel(t)
	failover(t, client, master)
}

// TestGuardCluster: the conformance kit on six nodes.
func TestGuardCluster(t *testing.T) {
	t.Parallel()
	_, client := startCluster(t)
	guardtest.Run(t, guardtest.Config{
		MaxResult: 4096,
		New: func(t testing.TB, lease time.Duration) guardtest.Subject {
			o := Options{Lease: lease, MaxResult: 4096, Prefix: ownPrefix(), Buckets: 8}
			s := open(t, client, o)
			return guardtest.Subject{
				Guard: s, Peer: open(t, client, o), Contains: s.Contains, Forget: s.Forget,
				Lose: func(t testing.TB) {
					err := client.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
						for _, name := range c.Keys(ctx, o.Prefix+"*").Val() {
							if err := c.Del(ctx, name).Err(); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil {
						t.Fatal(err)
					}
				},
			}
		},
	})
}

// failover has eight clients mark keys, kills victim in the middle, and asks again for
// every key whose commit was acknowledged.
func failover(t *testing.T, client redis.UniversalClient, victim *redisProcess) {
	t.Helper()
	stores := make([]*Store, 4)
	prefix := ownPrefix()
	for i := range stores {
		stores[i] = open(t, client, Options{OnGap: Report, Prefix: prefix, Buckets: 16})
	}
	before, after := 20, 20
	if long {
		before, after = 300, 300
	}
	var acked sync.Map // key to true
	var done, killed atomic.Int64
	var next atomic.Uint64
	var wg sync.WaitGroup
	deadline := time.Now().Add(100 * time.Second)
	for w := range 8 {
		wg.Go(func() {
			s := stores[w%len(stores)]
			for killed.Load() < int64(after) && time.Now().Before(deadline) {
				keys := make([][]byte, 100)
				for i := range keys {
					keys[i] = binary.BigEndian.AppendUint64(nil, next.Add(1))
				}
				cs, _ := s.ClaimBatch(ctx, nil, keys) // some fail while there is no master
				if err := s.Commit(ctx, cs...); err != nil {
					continue // whether they are marked is not known
				}
				for _, c := range cs {
					if c.Verdict == dedup.Fresh {
						acked.Store(string(c.Key), true)
					}
				}
				if n := done.Add(1); n == int64(before) {
					victim.kill()
				} else if n > int64(before) && s.Ping(ctx) == nil {
					killed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if killed.Load() < int64(after) {
		t.Fatalf("only %d batches were marked after the failover", killed.Load())
	}
	var gaps uint64
	for _, s := range stores {
		if err := s.Ping(ctx); err != nil {
			t.Fatal(err)
		}
		gaps += s.Stats().Gaps
	}
	asked, missed := 0, 0
	acked.Range(func(key, _ any) bool {
		c, err := stores[0].Claim(ctx, []byte(key.(string)))
		if err != nil {
			t.Fatal(err)
		}
		asked++
		if c.Verdict != dedup.Duplicate {
			missed++
		}
		return true
	})
	t.Logf("%d marks, %d missed, %d gaps reported", asked, missed, gaps)
	if missed > 0 && gaps == 0 {
		t.Errorf("%d of %d marks are missing and no gap was reported", missed, asked)
	}
}
