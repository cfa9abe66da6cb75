package partitioned_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka/partitioned"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/servertest"
)

// A worker is a node with a handler of the test's.
type worker struct {
	*partitioned.Node
	log    textLog
	cancel context.CancelFunc
	done   chan error
}

func startWorker(t *testing.T, brokers, topic, name string, handle func(context.Context, *kgo.Record) ([]*kgo.Record, error),
	opts ...kgo.Opt) *worker {
	t.Helper()
	w := &worker{done: make(chan error, 1)}
	n, err := partitioned.New(partitioned.Options{
		Dir: filepath.Join(t.TempDir(), name), Input: topic, Output: topic + "-out", Group: topic, TransactionalID: topic + name,
		Logger: w.log.logger(), Handle: handle,
		Client: append([]kgo.Opt{kgo.SeedBrokers(brokers), kgo.SessionTimeout(6 * time.Second), kgo.HeartbeatInterval(300 * time.Millisecond),
			// All that was sent together comes in one fetch.
			kgo.FetchMinBytes(1 << 20), kgo.FetchMaxWait(time.Second)}, opts...),
		Engine: engine.Options{Window: 24 * time.Hour, Sync: engine.SyncInterval, Capacity: 100_000, Shards: 1, MinFreeDisk: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(t.Context())
	w.Node = n
	go func() { w.done <- n.Run(ctx) }() // ends with stop
	t.Cleanup(w.cancel)
	return w
}

func (w *worker) ready() (n int) {
	for _, p := range w.Stats().Partitions {
		if p.Ready {
			n++
		}
	}
	return n
}

// stop ends the node. Each of its aborted transactions has logged a cause.
func (w *worker) stop(t *testing.T) partitioned.Stats {
	t.Helper()
	w.cancel()
	if err := <-w.done; err != nil {
		t.Fatal(err)
	}
	s := w.Stats()
	if told := w.log.count("a transaction was aborted"); uint64(told) != s.Aborted {
		t.Errorf("%d transactions were aborted, the log says why of %d", s.Aborted, told)
	}
	return s
}

// TestAbortsAreTold: whatever aborts a transaction, the log has the cause.
func TestAbortsAreTold(t *testing.T) {
	brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
	everyPartition := []*kgo.Record{{Partition: 0}, {Partition: 1}, {Partition: 2}, {Partition: 3}}
	for _, c := range []struct {
		name string
		send []*kgo.Record
		says string
	}{
		// Nothing fails in the round itself: the client does not commit.
		{"rebalance", everyPartition[:1], "partitions went to other members of the group"},
		// The round meets partitions whose memory is gone.
		{"lost", everyPartition, "the partition was lost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			topic := newTopics(t, brokers)
			handling, others := make(chan struct{}, 100), make(chan struct{})
			first := startWorker(t, brokers, topic, "a", func(_ context.Context, r *kgo.Record) ([]*kgo.Record, error) {
				if string(r.Key) == "before" {
					return nil, nil
				}
				handling <- struct{}{}
				<-others
				return nil, nil
			})
			eventually(t, "all partitions are ready", func() bool { return first.ready() == partitions })
			manual := client(t, brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			send := func(key string, to []*kgo.Record) {
				t.Helper()
				rs := make([]*kgo.Record, len(to))
				for i, r := range to {
					rs[i] = &kgo.Record{Topic: topic, Partition: r.Partition, Key: []byte(key)}
				}
				if err := manual.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			send("before", everyPartition) // then one fetch is for all of them
			eventually(t, "the first records are handled", func() bool { return first.Stats().Fresh == partitions })
			send("k", c.send)
			<-handling
			second := startWorker(t, brokers, topic, "b", nil)
			eventually(t, "the second node has partitions", func() bool { return len(second.Stats().Partitions) > 0 })
			close(others)
			eventually(t, "the round ends", func() bool { return first.Stats().Aborted > 0 })
			second.stop(t)
			if s := first.stop(t); first.log.count(c.says) == 0 || s.Sessions != 1 {
				t.Errorf("%d times %q in the log: %+v\n%s", first.log.count(c.says), c.says, s, first.log.text.String())
			}
		})
	}
	t.Run("removed", func(t *testing.T) { // and its client has not heard of it yet
		t.Parallel()
		topic, handling, gone := newTopics(t, brokers), make(chan struct{}, 100), make(chan struct{})
		w := startWorker(t, brokers, topic, "a", func(context.Context, *kgo.Record) ([]*kgo.Record, error) {
			handling <- struct{}{}
			<-gone
			return nil, nil
		}, kgo.InstanceID("a"), kgo.HeartbeatInterval(5*time.Second))
		send(t, client(t, brokers), topic, keysOf(1))
		<-handling
		adm := kadm.NewClient(client(t, brokers))
		if answers, err := adm.LeaveGroup(t.Context(), kadm.LeaveGroup(topic).InstanceIDs("a")); err != nil || !answers.Ok() {
			t.Fatal(answers, err)
		}
		close(gone)
		eventually(t, "the round ends", func() bool { return w.Stats().Aborted > 0 })
		w.stop(t)
	})
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		topic, handling := newTopics(t, brokers), make(chan struct{}, 100)
		w := startWorker(t, brokers, topic, "a", func(ctx context.Context, _ *kgo.Record) ([]*kgo.Record, error) {
			handling <- struct{}{}
			<-ctx.Done()
			return nil, errors.New("cut short")
		})
		send(t, client(t, brokers), topic, keysOf(1))
		<-handling
		if s := w.stop(t); s.Aborted != 1 || w.log.count("cut short") != 1 {
			t.Errorf("%+v\n%s", s, w.log.text.String())
		}
	})
}
