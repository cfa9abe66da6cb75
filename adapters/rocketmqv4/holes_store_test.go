package rocketmqv4_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/rocketmqv4"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/dedup/policy"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/internal/testguards"
	mysqlstore "github.com/firstseen/firstseen/stores/mysql"
	redisstore "github.com/firstseen/firstseen/stores/redis"
)

// The holes of stores.

// newTable is a store in a table of its own.
func newTable(t *testing.T, dsn string, o mysqlstore.Options) (*mysqlstore.Store, *sql.DB) {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := mysqlstore.New(db, o)
	if err == nil {
		err = s.Migrate(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, db
}

// TestHole04ClientClock: where the database's clock differs from this machine's by an
// hour, leases are not stolen, and delays are those of the lease.
func TestHole04ClientClock(t *testing.T) {
	addr := servertest.Shared(t, servertest.MariaDB).Env("MARIADB_ADDR")
	for i, ahead := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			// The variable is the time of the session: MariaDB's clock stands at it.
			dsn := fmt.Sprintf("%s?timestamp=%d", testguards.DSN(addr), time.Now().Add(ahead).Unix())
			s, _ := newTable(t, dsn, mysqlstore.Options{Window: time.Hour, Lease: time.Minute, SweepEvery: -1, Table: fmt.Sprint("hole4_", i)})
			holder, other := newWorker(t, s), newWorker(t, s)
			begun, end := make(chan struct{}), make(chan struct{})
			holder.does(func() error { close(begun); <-end; return nil })
			answer := make(chan consumer.ConsumeResult)
			go func() { r, _ := holder.gets(order("T", "k")); answer <- r }()
			<-begun
			if result, level := other.gets(order("T", "k")); result != consumer.ConsumeRetryLater || level != 5 || other.runs.Load() != 0 {
				t.Errorf("a duplicate in flight is %v with level %d after %d handlers, want to come again in a minute",
					result, level, other.runs.Load())
			}
			close(end)
			if r := <-answer; r != consumer.ConsumeSuccess {
				t.Errorf("the holder answers %v", r)
			}
			other.want(consumer.ConsumeSuccess, 0, order("T", "k"))
		})
	}
}

// TestHole05StoreDown: while the store can't be reached messages come again, or are
// handled and counted where the policy says so; it is the same with both stores.
func TestHole05StoreDown(t *testing.T) {
	eachStore(t, func(b *bed) {
		p := servertest.NewProxy(b, b.addr)
		b.addr = p.Addr()
		g := b.guard(time.Minute)
		strict := newWorker(b.T, g)
		lenient := newWorker(b.T, policy.New(g, policy.Options{OnDown: policy.LetThrough, Logger: options().Logger}),
			func(o *rocketmqv4.Options) { o.Consume.EndTimeout = time.Second })
		strict.want(consumer.ConsumeSuccess, 1, order("T", "before"))
		p.Close()
		strict.want(consumer.ConsumeRetryLater, 1, order("T", "before"))
		strict.want(consumer.ConsumeRetryLater, 1, order("T", "k"))
		if n := strict.a.Consumer().Snapshot()[0].StoreDown; n != 2 {
			b.Errorf("%d messages are counted as not known, want 2", n)
		}
		lenient.want(consumer.ConsumeSuccess, 1, order("T", "k"))
		if n := lenient.a.Consumer().Snapshot()[0].Unguarded; n != 1 {
			b.Errorf("%d messages are counted as let through, want 1", n)
		}
	})
}

// TestHole09NothingPurges: what the adapter has written goes away by itself.
func TestHole09NothingPurges(t *testing.T) {
	t.Run("redis", func(t *testing.T) {
		client := redis.NewClient(&redis.Options{Addr: testguards.Memories()[1].Addr(t)})
		t.Cleanup(func() { client.Close() })
		s, err := redisstore.New(client, redisstore.Options{Window: time.Hour, Prefix: "hole9"})
		if err != nil {
			t.Fatal(err)
		}
		newWorker(t, s).want(consumer.ConsumeSuccess, 2, order("T", "a"), order("T", "b"))
		names, err := client.Keys(ctx, "hole9*").Result()
		if err != nil || len(names) < 2 {
			t.Fatalf("%d records, %v", len(names), err)
		}
		for _, name := range names {
			if left := client.PTTL(ctx, name).Val(); left <= 0 && !strings.HasSuffix(name, "{layout}") {
				t.Errorf("%q stays for ever", name)
			}
		}
	})
	t.Run("mariadb", func(t *testing.T) {
		addr := testguards.Memories()[2].Addr(t)
		s, db := newTable(t, testguards.DSN(addr), mysqlstore.Options{
			Window: 200 * time.Millisecond, Lease: 200 * time.Millisecond, SweepEvery: 50 * time.Millisecond, Table: "hole9",
		})
		newWorker(t, s).want(consumer.ConsumeSuccess, 2, order("T", "a"), order("T", "b"))
		for giveUp := time.Now().Add(30 * time.Second); ; {
			var rows int
			if err := db.QueryRowContext(ctx, "SELECT count(*) FROM hole9 WHERE valid_until < UTC_TIMESTAMP(6)").Scan(&rows); err != nil {
				t.Fatal(err)
			}
			if s.Stats().Swept >= 2 && rows == 0 {
				return
			}
			if time.Now().After(giveUp) {
				t.Fatalf("%d expired rows stay, %d were swept", rows, s.Stats().Swept)
			}
			<-time.After(20 * time.Millisecond)
		}
	})
}

// TestHole13LostRecords: a Redis that comes back without its records doesn't have its
// messages handled again, and MariaDB has lost none.
func TestHole13LostRecords(t *testing.T) {
	for _, m := range testguards.Memories()[1:] {
		t.Run(m.Name, func(t *testing.T) {
			server := servertest.Start(t, m.Name)
			b := &bed{T: t, name: m.Name, addr: server.Env(strings.ToUpper(m.Name) + "_ADDR"), dir: t.TempDir(), m: m}
			w := newWorker(t, b.guard(time.Minute))
			w.want(consumer.ConsumeSuccess, 1, order("T", "k"))
			server.Kill()
			server.Restart()
			if m.Name == servertest.MariaDB {
				w.getsUntilHandled(order("T", "k")) // the first connections are broken
				w.want(consumer.ConsumeSuccess, 1, order("T", "k"))
				return
			}
			for range 3 { // it says so for as long as nobody has looked at it
				w.want(consumer.ConsumeRetryLater, 1, order("T", "k"))
			}
		})
	}
}

// A counting guard counts the calls of batches.
type counting struct {
	dedup.Guard
	claims, commits *atomic.Int32
}

func (g counting) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	g.claims.Add(1)
	return g.Guard.ClaimBatch(ctx, cs, keys)
}

func (g counting) Commit(ctx context.Context, cs ...dedup.Claim) error {
	g.commits.Add(1)
	return g.Guard.Commit(ctx, cs...)
}

// TestHole14NothingBesides: a result is kept and given to duplicates, a batch is one
// call, everything is counted, and an orderly listener stops its queue.
func TestHole14NothingBesides(t *testing.T) {
	eachStore(t, func(b *bed) {
		var told []string
		g := counting{b.guard(time.Minute), new(atomic.Int32), new(atomic.Int32)}
		w := newWorker(b.T, g, func(o *rocketmqv4.Options) {
			o.Consume.OnDuplicate = func(_ context.Context, _ consume.Message, c dedup.Claim) { told = append(told, string(c.Result)) }
		})
		h := rocketmqv4.Handler(func(ctx context.Context, m *primitive.MessageExt) error {
			consume.WorkFrom(ctx).SetResult([]byte("result of " + m.GetKeys()))
			return nil
		})
		w.handle.Store(&h)
		var batch []*primitive.MessageExt
		for i := range 8 {
			batch = append(batch, order("T", fmt.Sprint(i)))
		}
		w.want(consumer.ConsumeSuccess, 8, batch...)
		if claims, commits := g.claims.Load(), g.commits.Load(); claims != 1 || commits != 1 {
			b.Errorf("a batch took %d claims and %d commits, want one each", claims, commits)
		}
		w.want(consumer.ConsumeSuccess, 8, batch[3])
		if len(told) != 1 || told[0] != "result of 3" {
			b.Errorf("the duplicate's results are %q", told)
		}
		if c := w.a.Consumer().Snapshot()[0]; c.Fresh != 8 || c.Duplicate != 1 || c.Acked != 9 {
			b.Errorf("counted: %+v", c)
		}

		w.does(func() error { return fmt.Errorf("fails") })
		listen := w.a.Orderly(func(ctx context.Context, m *primitive.MessageExt) error {
			w.runs.Add(1)
			return (*w.handle.Load())(ctx, m)
		})
		oc := primitive.NewConsumeOrderlyContext()
		result, err := listen(primitive.WithOrderlyCtx(ctx, oc), batch[3], order("T", "new"), order("T", "behind"))
		if err != nil || result != consumer.SuspendCurrentQueueAMoment || oc.SuspendCurrentQueueTimeMillis != 1000 || w.runs.Load() != 9 {
			b.Errorf("orderly it is %v for %d ms after %d handlers (%v)", result, oc.SuspendCurrentQueueTimeMillis, w.runs.Load(), err)
		}
	})
}
