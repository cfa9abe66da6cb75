package redisstore

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/dedup/guardtest"
	"github.com/firstseen/firstseen/internal/servertest"
)

// TestGuard: the conformance kit, with the fourteen holes as far as they concern a
// guard; holes_test.go has the others.
func TestGuard(t *testing.T) {
	client := shared(t)
	guardtest.Run(t, guardtest.Config{
		MaxResult: 4096,
		New: func(t testing.TB, lease time.Duration) guardtest.Subject {
			return subject(t, client, Options{Lease: lease, MaxResult: 4096, Prefix: ownPrefix()})
		},
	})
}

// TestListenerGuard: the same in RocketMQDedupListener's layout, between Go consumers.
func TestListenerGuard(t *testing.T) {
	server := clientOf(t, servertest.Start(t, servertest.Redis))
	guardtest.Run(t, guardtest.Config{
		ToldOnce: true, // Java knows two values and no third
		New: func(t testing.TB, lease time.Duration) guardtest.Subject {
			if err := server.FlushAll(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			return subject(t, server, Options{Lease: lease, DedupListener: true, Prefix: "MSGDEDUP"})
		},
	})
}

// subject is one memory that three Stores share.
func subject(t testing.TB, client *redis.Client, o Options) guardtest.Subject {
	t.Helper()
	p := newProxy(t, client.Options().Addr)
	cuttable := redis.NewClient(&redis.Options{Addr: p.addr(), DialerRetries: 1})
	t.Cleanup(func() { cuttable.Close() })
	ahead := o
	ahead.now = func() time.Time { return time.Now().Add(time.Hour) }
	s := open(t, cuttable, o)
	return guardtest.Subject{
		Guard: s, Peer: open(t, client, o), Ahead: open(t, client, ahead),
		Contains: s.Contains, Forget: s.Forget,
		Reopen: func(t testing.TB) guardtest.Subject { return subject(t, client, o) },
		Down:   func(testing.TB) { p.close() },
		Lose: func(t testing.TB) {
			t.Helper()
			keys := client.Keys(ctx, o.Prefix+"*").Val()
			if o.DedupListener {
				keys = append(keys, client.Keys(ctx, "firstseen:*").Val()...)
			}
			if err := client.Del(ctx, keys...).Err(); err != nil {
				t.Fatal(err)
			}
		},
	}
}
