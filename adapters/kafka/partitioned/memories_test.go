package partitioned_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/kafka"
	"github.com/firstseen/firstseen/adapters/kafka/partitioned"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/servertest"
)

// effects is the storm of way 2: several processes share the group, and each begins
// with an empty directory.
var effects = adaptertest.Config{
	Name: "memories", NewTopic: func(t testing.TB) string {
		brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
		return brokers + " " + newTopics(t, brokers)
	},
	Produce: func(t testing.TB, address string, keys ...string) {
		brokers, topic, _ := strings.Cut(address, " ")
		send(t, client(t, brokers), topic, keys)
	},
	Consume: func(ctx context.Context, s adaptertest.Session) error {
		dir, err := os.MkdirTemp("", "memories")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		_, err = handle(ctx, s.Address, dir, s.Guard, s.Handle)
		return err
	},
	Guard: func(string, time.Duration) (dedup.Guard, func() error, error) {
		return through{}, func() error { return nil }, nil
	},
	Drained:   drained,
	Processes: 3, Patience: 90 * time.Second,
}

// handle runs an adapter with memories in dir until ctx ends.
func handle(ctx context.Context, address, dir string, suite dedup.Guard, h func(ctx context.Context, key string) error) (partitioned.Stats, error) {
	brokers, topic, _ := strings.Cut(address, " ")
	ms, err := partitioned.OpenMemories(ctx, partitioned.MemoriesOptions{
		Dir: dir, Input: topic, Group: topic, Client: []kgo.Opt{kgo.SeedBrokers(brokers)},
		Engine: engine.Options{Window: 24 * time.Hour, Sync: engine.SyncInterval, Capacity: 100_000, Shards: 1, MinFreeDisk: -1},
	})
	if err != nil {
		if ctx.Err() != nil {
			err = nil // it was told to stop before it had begun
		}
		return partitioned.Stats{}, err
	}
	defer ms.Close()
	a, err := kafka.New(nil, kafka.Options{Application: "test", RetryAfter: 100 * time.Millisecond,
		Guards: func(ctx context.Context, topic string, partition int32) (dedup.Guard, func(), error) {
			g, done, err := ms.Guard(ctx, topic, partition)
			return via{suite, g}, done, err
		},
		Consume: consume.Options{Join: consume.PlainKey}})
	if err != nil {
		return partitioned.Stats{}, err
	}
	cl, err := kgo.NewClient(append(a.Options(), kgo.SeedBrokers(brokers), kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(300*time.Millisecond))...)
	if err != nil {
		return partitioned.Stats{}, err
	}
	defer cl.CloseAllowingRebalance()
	err = a.Run(ctx, cl, func(ctx context.Context, r *kgo.Record) error { return h(ctx, string(r.Key)) })
	return ms.Stats(), err
}

// drained: the group has committed up to the end of every partition.
func drained(address string) (bool, error) {
	brokers, topic, _ := strings.Cut(address, " ")
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	if err != nil {
		return false, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	behind, err := lag(context.Background(), adm, topic)
	return behind == 0, err
}

// lag returns how many records the group has not committed.
func lag(ctx context.Context, adm *kadm.Client, topic string) (behind int64, err error) {
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	got, err := adm.FetchOffsets(ctx, topic)
	if kerr.IsRetriable(err) {
		return 1, nil // a broker that was just started has no coordinator for groups yet: nobody knows
	}
	if err != nil {
		return 0, err
	}
	ends.Each(func(end kadm.ListedOffset) {
		at, _ := got.Lookup(topic, end.Partition)
		behind += end.Offset - max(0, at.At)
	})
	return behind, nil
}

// TestEffectsStorm: consumers that are killed, and whose directories are lost, have no
// effect twice, but for handlers that ran when they were killed.
func TestEffectsStorm(t *testing.T) {
	s := adaptertest.Storm{Messages: 1000, Kills: 2}
	if os.Getenv("FIRSTSEEN_SERVERS") == "long" {
		s = adaptertest.Storm{Messages: 100_000, Kills: 20}
	}
	adaptertest.RunStorm(t, effects, s)
}

// TestEffectsTakeOver: who takes partitions over knows what was handled before, with
// the directory and without.
func TestEffectsTakeOver(t *testing.T) {
	address := effects.NewTopic(t)
	brokers, topic, _ := strings.Cut(address, " ")
	adm, producer := kadm.NewClient(client(t, brokers)), client(t, brokers)
	keys := keysOf(500)
	round := func(dir string) (map[string]int, partitioned.Stats) {
		t.Helper()
		send(t, producer, topic, keys)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		handled := make(chan string, 2*len(keys))
		type result struct {
			stats partitioned.Stats
			err   error
		}
		done := make(chan result, 1)
		go func() { // ends with cancel
			s, err := handle(ctx, address, dir, through{}, func(_ context.Context, key string) error { handled <- key; return nil })
			done <- result{s, err}
		}()
		for behind := int64(1); behind > 0; {
			var err error
			if behind, err = lag(ctx, adm, topic); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		r := <-done
		if r.err != nil {
			t.Fatal(r.err)
		}
		close(handled)
		counts := map[string]int{}
		for key := range handled {
			counts[key]++
		}
		return counts, r.stats
	}
	dir := t.TempDir()
	if got, s := round(dir); len(got) != len(keys) || s.LoadedKeys != 0 {
		t.Fatalf("%d keys were handled at first, %+v", len(got), s)
	}
	if got, s := round(dir); len(got) != 0 || s.LoadedKeys != 0 || s.Loads != partitions {
		t.Errorf("%d keys were handled again, with the directory: %+v", len(got), s)
	}
	if got, s := round(t.TempDir()); len(got) != 0 || s.LoadedKeys != uint64(len(keys)) {
		t.Errorf("%d keys were handled again, without the directory: %+v", len(got), s)
	}
}
