package partitioned_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka/partitioned"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/servertest"
)

// A gapList collects what OnGap is told.
type gapList struct {
	mu   sync.Mutex
	gaps []string
}

func (l *gapList) add(id int32, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gaps = append(l.gaps, fmt.Sprint(id, ": ", why))
}

// want expects one gap for each of the partitions, from a growth of 2 to 4 partitions.
func (l *gapList) want(t *testing.T, when string, stats partitioned.Stats, ids ...int32) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	want := []string{}
	for _, id := range ids {
		want = append(want, fmt.Sprint(id, ": the input had 2 partitions and has 4 now: keys have moved to other partitions than their marks"))
	}
	if slices.Sort(l.gaps); !slices.Equal(l.gaps, want) {
		t.Errorf("%s: OnGap was told %q, want %q", when, l.gaps, want)
	}
	if stats.Gaps != uint64(len(ids)) {
		t.Errorf("%s: %d gaps are counted, want %d", when, stats.Gaps, len(ids))
	}
}

// textLog is a logger's output that a test can read.
type textLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *textLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *textLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func (l *textLog) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// eventually waits until what is asked for is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for giveUp := time.Now().Add(time.Minute); !so(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// grow gives topics four partitions.
func grow(t *testing.T, adm *kadm.Client, topics ...string) {
	t.Helper()
	answers, err := adm.UpdatePartitions(t.Context(), 4, topics...)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the partitions are there", func() bool {
		listed, err := adm.ListTopics(t.Context(), topics...)
		for _, topic := range topics {
			if len(listed[topic].Partitions) != 4 {
				return false
			}
		}
		return err == nil
	})
}

// A grower is a node that runs in this process.
type grower struct {
	*partitioned.Node
	gaps   gapList
	log    textLog
	cancel context.CancelFunc
	done   chan error
}

func startGrower(t *testing.T, brokers, topic, dir string) *grower {
	t.Helper()
	g := &grower{done: make(chan error, 1)}
	n, err := partitioned.New(partitioned.Options{
		Dir: dir, Input: topic, Output: topic + "-out", Group: topic, TransactionalID: topic, OnGap: g.gaps.add, Logger: g.log.logger(),
		Client: []kgo.Opt{kgo.SeedBrokers(brokers), kgo.SessionTimeout(6 * time.Second), kgo.HeartbeatInterval(300 * time.Millisecond),
			kgo.MetadataMinAge(100 * time.Millisecond), kgo.MetadataMaxAge(500 * time.Millisecond), kgo.FetchMaxWait(200 * time.Millisecond)},
		Engine: engine.Options{Window: 24 * time.Hour, Sync: engine.SyncInterval, Capacity: 100_000, Shards: 1, MinFreeDisk: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, g.cancel = context.WithCancel(t.Context())
	g.Node = n
	go func() { g.done <- n.Run(ctx) }() // ends with stop
	return g
}

// ready waits until so many partitions are.
func (g *grower) ready(t *testing.T, partitions int) {
	t.Helper()
	eventually(t, fmt.Sprint(partitions, " partitions are ready"), func() bool {
		n := 0
		for _, p := range g.Stats().Partitions {
			if p.Ready {
				n++
			}
		}
		return n == partitions
	})
}

func (g *grower) stop(t *testing.T) partitioned.Stats {
	t.Helper()
	g.cancel()
	if err := <-g.done; err != nil {
		t.Fatal(err)
	}
	return g.Stats()
}

// TestPartitionsAdded: after partitions were added to the input, each directory reports
// once that keys have moved, whether it was there before or not.
func TestPartitionsAdded(t *testing.T) {
	brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
	topic, dir := newTopicsOf(t, brokers, 2), filepath.Join(t.TempDir(), "d")
	adm, producer, out := kadm.NewClient(client(t, brokers)), client(t, brokers), readOutput(t, brokers, topic)
	keys := keysOf(400)
	n := startGrower(t, brokers, topic, dir)
	n.ready(t, 2)
	send(t, producer, topic, keys[:200])
	out.until(t, 200, time.Minute)
	n.gaps.want(t, "before", n.stop(t))

	grow(t, adm, topic, topic+"-out")
	n = startGrower(t, brokers, topic, dir)
	err := <-n.done
	if want := "kafka-topics.sh --alter --topic " + topic + "-marks --partitions 4"; err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("with a log of two partitions: %v, want %q", err, want)
	}

	grow(t, adm, topic+"-marks")
	n = startGrower(t, brokers, topic, dir)
	n.ready(t, 4)
	send(t, client(t, brokers), topic, keys)
	out.until(t, 400, time.Minute)
	n.gaps.want(t, "after", n.stop(t), 0, 1, 2, 3)

	n = startGrower(t, brokers, topic, dir)
	n.ready(t, 4)
	n.gaps.want(t, "the next start", n.stop(t))

	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	n = startGrower(t, brokers, topic, dir)
	n.ready(t, 4)
	n.gaps.want(t, "a new directory, whose log has marks of before", n.stop(t), 0, 1)
}

// TestPartitionsAddedWhileRunning: records of partitions that were added wait until the
// other topics have them, and others don't.
func TestPartitionsAddedWhileRunning(t *testing.T) {
	brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
	topic := newTopicsOf(t, brokers, 2)
	adm, producer, out := kadm.NewClient(client(t, brokers)), client(t, brokers), readOutput(t, brokers, topic)
	manual := client(t, brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1), kgo.MetadataMinAge(100*time.Millisecond))
	sendTo := func(id int32, key string) {
		t.Helper()
		if err := manual.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: id, Key: []byte(key)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	n := startGrower(t, brokers, topic, filepath.Join(t.TempDir(), "d"))
	n.ready(t, 2)
	send(t, producer, topic, keysOf(100))
	out.until(t, 100, time.Minute)

	grow(t, adm, topic)
	eventually(t, "two directories have a gap", func() bool { return n.Stats().Gaps == 2 })
	const waits = "the records of a partition that was added wait"
	eventually(t, "both new partitions wait", func() bool { return n.log.count(waits) == 2 })
	sendTo(2, "waits")
	sendTo(1, "passes")
	out.until(t, 101, time.Minute)
	if out.counts["passes"] != 1 || out.counts["waits"] != 0 {
		t.Errorf("%d and %d records came out", out.counts["passes"], out.counts["waits"])
	}
	grow(t, adm, topic+"-out", topic+"-marks")
	n.ready(t, 4)
	out.until(t, 102, time.Minute)
	s := n.stop(t)
	n.gaps.want(t, "while it ran", s, 0, 1, 2, 3)
	if s.Sessions != 1 || n.log.count(waits) != 2 {
		t.Errorf("%d sessions, and %d complaints", s.Sessions, n.log.count(waits))
	}
}

// TestPartitionsAddedMemories: the same for effects outside of Kafka.
func TestPartitionsAddedMemories(t *testing.T) {
	brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
	topic, dir := newTopicsOf(t, brokers, 2), t.TempDir()
	adm := kadm.NewClient(client(t, brokers))
	var gaps *gapList
	var log textLog
	open := func() (*partitioned.Memories, error) {
		gaps = &gapList{}
		return partitioned.OpenMemories(t.Context(), partitioned.MemoriesOptions{
			Dir: dir, Input: topic, Group: topic, OnGap: gaps.add, Logger: log.logger(),
			Client: []kgo.Opt{kgo.SeedBrokers(brokers), kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(200 * time.Millisecond)},
			Engine: engine.Options{Window: 24 * time.Hour, Sync: engine.SyncInterval, Capacity: 100_000, Shards: 1, MinFreeDisk: -1}})
	}
	use := func(ms *partitioned.Memories, ids ...int32) {
		t.Helper()
		for _, id := range ids {
			g, done, err := ms.Guard(t.Context(), topic, id)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			claim, err := g.Claim(t.Context(), fmt.Append(nil, "key", id))
			if err == nil {
				err = g.Commit(t.Context(), claim)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	ms, err := open()
	if err != nil {
		t.Fatal(err)
	}
	use(ms, 0, 1)
	_, done, err := ms.Guard(t.Context(), topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	grow(t, adm, topic)
	eventually(t, "the directory that is open has a gap", func() bool { return ms.Stats().Gaps == 1 })
	added := make(chan error, 1)
	go func() { // ends when the log has the partition
		_, done, err := ms.Guard(t.Context(), topic, 2)
		if err == nil {
			done()
		}
		added <- err
	}()
	grow(t, adm, topic+"-marks")
	if err := <-added; err != nil {
		t.Fatal(err)
	}
	done()
	gaps.want(t, "while it is open", ms.Stats(), 0, 2)
	ms.Close()
	for when, ids := range [][]int32{{1, 3}, {}} {
		if ms, err = open(); err != nil {
			t.Fatal(err)
		}
		use(ms, 0, 1, 2, 3)
		ms.Close()
		gaps.want(t, fmt.Sprint("start ", when+1), ms.Stats(), ids...)
	}
}
