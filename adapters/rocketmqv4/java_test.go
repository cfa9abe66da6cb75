package rocketmqv4_test

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/rocketmqv4"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/javalistener"
	"github.com/firstseen/firstseen/internal/testguards"
	mysqlstore "github.com/firstseen/firstseen/stores/mysql"
	redisstore "github.com/firstseen/firstseen/stores/redis"
)

// A javaConsumer shares its memory with the Go consumer of a test.
type javaConsumer interface {
	Want(want, app, topic, tag, key string)
	Done(app, topic, tag, key string)
	Failed(app, topic, tag, key string)
}

// A sharedTable is RocketMQDedupListener's layout in one store, with the Java consumer and
// the store of the Go one.
type sharedTable struct {
	name  string
	open  func(t *testing.T) (dedup.Guard, javaConsumer)
	joins func(s consume.Scope, key []byte) []byte
}

var sharedTables = []sharedTable{
	{"redis", sharedRedis, func(s consume.Scope, key []byte) []byte {
		return redisstore.ListenerKey(s.Application, s.Topic, s.Tag, string(key))
	}},
	{"mariadb", sharedMariaDB, func(s consume.Scope, key []byte) []byte {
		return mysqlstore.ListenerKey(s.Application, s.Topic, s.Tag, string(key))
	}},
}

func sharedRedis(t *testing.T) (dedup.Guard, javaConsumer) {
	client := redis.NewClient(&redis.Options{Addr: testguards.Memories()[1].Addr(t)})
	t.Cleanup(func() { client.Close() })
	s, err := redisstore.New(client, redisstore.Options{DedupListener: true})
	if err != nil {
		t.Fatal(err)
	}
	return s, javalistener.Redis{TB: t, Client: client}
}

func sharedMariaDB(t *testing.T) (dedup.Guard, javaConsumer) {
	db, err := sql.Open("mysql", testguards.DSN(testguards.Memories()[2].Addr(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	const table = "t_rocketmq_dedup"
	if _, err := db.ExecContext(ctx, fmt.Sprintf(javalistener.Table, table)); err != nil {
		t.Fatal(err)
	}
	s, err := mysqlstore.NewListener(db, mysqlstore.Options{SweepEvery: -1})
	if err == nil {
		err = s.Migrate(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, javalistener.SQL{TB: t, DB: db, Table: table}
}

// asJava has the keys that a listener without a dedupMessageKey of its own makes.
func (s sharedTable) asJava(o *rocketmqv4.Options) {
	o.Application = "billing"
	o.Key = func(m *primitive.MessageExt) ([]byte, error) {
		return []byte(m.GetProperty(primitive.PropertyUniqueClientMessageIdKeyIndex)), nil
	}
	o.Consume.Join = func(dst []byte, scope consume.Scope, key []byte) []byte { return append(dst, s.joins(scope, key)...) }
}

// TestSharedWithJava: Java consumers with RocketMQDedupListener and a Go consumer of
// ours share one memory: what one has handled the other one drops, and what one works
// on the other one leaves alone.
func TestSharedWithJava(t *testing.T) {
	for _, s := range sharedTables {
		t.Run(s.name, func(t *testing.T) {
			g, java := s.open(t)
			w := newWorker(t, g, s.asJava)
			message := func(tag, unique string) *primitive.MessageExt {
				m := order(tag, "business-key") // which Java doesn't look at
				m.WithProperty(primitive.PropertyUniqueClientMessageIdKeyIndex, unique)
				return m
			}
			for _, tag := range []string{"T1", ""} {
				w.runs.Store(0)
				key := func(name string) (app, topic, tg, k string) { return "billing", "orders", tag, name + tag }
				m := func(name string) *primitive.MessageExt { return message(tag, name+tag) }
				want := func(status, name string) { t.Helper(); a, b, c, d := key(name); java.Want(status, a, b, c, d) }
				done := func(name string) { a, b, c, d := key(name); java.Done(a, b, c, d) }
				failed := func(name string) { a, b, c, d := key(name); java.Failed(a, b, c, d) }

				// Java works on it, and is done: Go waits, then drops it.
				want("", "java-done")
				if result, level := w.gets(m("java-done")); result != consumer.ConsumeRetryLater || level != 5 {
					t.Errorf("what Java works on is %v with level %d, want again in a minute", result, level)
				}
				done("java-done")
				w.want(consumer.ConsumeSuccess, 0, m("java-done"))

				// Java fails: Go handles it, and Java drops it.
				want("", "java-failed")
				failed("java-failed")
				w.want(consumer.ConsumeSuccess, 1, m("java-failed"))
				want("CONSUMED", "java-failed")

				// Go works on it: Java waits. Go fails: Java handles it, and Go drops it.
				w.does(func() error { want("CONSUMING", "go-failed"); return errors.New("fails") })
				w.want(consumer.ConsumeRetryLater, 2, m("go-failed"))
				want("", "go-failed")
				done("go-failed")
				w.want(consumer.ConsumeSuccess, 2, m("go-failed"))

				// Both at once: Java's late success over Go's claim leaves the mark, and no
				// third one runs.
				w.does(func() error { done("both"); return nil })
				w.want(consumer.ConsumeSuccess, 3, m("both"))
				w.want(consumer.ConsumeSuccess, 3, m("both"))
				want("CONSUMED", "both")
				w.does(func() error { return nil })
			}
			// A retry topic's message has its first topic, for both.
			m := message("T1", "retried")
			m.ReconsumeTimes, m.MsgId, m.OffsetMsgId = 1, "another", "another"
			w.want(consumer.ConsumeSuccess, 4, m)
			java.Want("CONSUMED", "billing", "orders", "T1", "retried")
		})
	}
}

// TestJavaKeepsTime: the lease and the retention that Java sees are its own, 60 s and
// 24 hours.
func TestJavaKeepsTime(t *testing.T) {
	for _, s := range sharedTables[:1] { // stores/mysql looks at the row itself
		g, _ := s.open(t)
		w := newWorker(t, g, s.asJava)
		client := redis.NewClient(&redis.Options{Addr: testguards.Memories()[1].Addr(t)})
		t.Cleanup(func() { client.Close() })
		m := order("T9", "")
		id := fmt.Sprint("times", time.Now().UnixNano()) // the server outlives a run of the test
		m.WithProperty(primitive.PropertyUniqueClientMessageIdKeyIndex, id)
		const slack = time.Second // the store adds a ms, since the server cuts its own time down
		left := func() time.Duration { return client.PTTL(ctx, "MSGDEDUP:billing:orders:T9:"+id).Val() }
		w.does(func() error {
			if d := left(); d > time.Minute+slack || d < 50*time.Second {
				t.Errorf("the lease ends in %v", d)
			}
			return nil
		})
		w.want(consumer.ConsumeSuccess, 1, m)
		if d := left(); d > 24*time.Hour+slack || d < 24*time.Hour-time.Minute {
			t.Errorf("the mark ends in %v", d)
		}
	}
}
