package local

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/dedup/guardtest"
	"github.com/firstseen/firstseen/internal/servertest"
	redisstore "github.com/firstseen/firstseen/stores/redis"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

var prefixes atomic.Int64

// behindRedis gives a layer and the Store behind it, with records of their own.
func behindRedis(t testing.TB, o redisstore.Options, learns time.Duration) (*Guard, *redisstore.Store) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: servertest.Shared(t, servertest.Redis).Env("REDIS_ADDR")})
	t.Cleanup(func() { client.Close() })
	if o.Prefix == "" {
		o.Prefix = fmt.Sprint("local", prefixes.Add(1))
	}
	s, err := redisstore.New(client, o)
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(s, Options{Window: learns})
	if err != nil {
		t.Fatal(err)
	}
	return g, s
}

// TestGuardRedis: the conformance kit with results, on a real server.
func TestGuardRedis(t *testing.T) {
	guardtest.Run(t, guardtest.Config{
		MaxResult: 1000,
		New: func(t testing.TB, lease time.Duration) guardtest.Subject {
			g, s := behindRedis(t, redisstore.Options{Window: window, Lease: lease, MaxResult: 1000}, window)
			return guardtest.Subject{
				Guard: g, Peer: s, Contains: s.Contains,
				Forget: func(ctx context.Context, key []byte) error {
					g.Forget(key)
					return s.Forget(ctx, key)
				},
			}
		},
	})
}

// BenchmarkClaimBatch: half of each batch of 1,000 are keys that were marked a moment
// ago. Each new key is claimed and committed.
func BenchmarkClaimBatch(b *testing.B) {
	layer, behind := behindRedis(b, redisstore.Options{Window: window}, window)
	_, alone := behindRedis(b, redisstore.Options{Window: window}, 0)
	for _, bc := range []struct {
		name string
		g    dedup.Guard
	}{{"redis", alone}, {"local", layer}} {
		b.Run("guard="+bc.name+"/dup=0.5/batch=1000", func(b *testing.B) {
			batch := make([][]byte, 1000)
			last := make([][]byte, 500)
			var cs []dedup.Claim
			n := 0
			for b.Loop() {
				for i := range 500 {
					batch[2*i], batch[2*i+1] = last[i], fmt.Appendf(nil, "%016x", prefixes.Add(1))
					if batch[2*i] == nil {
						batch[2*i] = fmt.Appendf(nil, "%016x", prefixes.Add(1))
					}
				}
				var err error
				if cs, err = bc.g.ClaimBatch(ctx, cs[:0], batch); err == nil {
					err = bc.g.Commit(ctx, cs...)
				}
				if err != nil {
					b.Fatal(err)
				}
				for i := range 500 {
					if want := dedup.Duplicate; n > 0 && cs[2*i].Verdict != want || cs[2*i+1].Verdict != dedup.Fresh {
						b.Fatalf("batch %d: a duplicate is %v, a new key %v", n, cs[2*i].Verdict, cs[2*i+1].Verdict)
					}
					last[i] = batch[2*i+1]
				}
				n++
			}
			b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "keys/s")
		})
	}
	if hits := layer.Stats().Hits; behind.Stats().Duplicate > hits/1000+1000 {
		b.Errorf("%d hits, and the store was asked for %d duplicates", hits, behind.Stats().Duplicate)
	}
}
