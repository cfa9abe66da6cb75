package partitioned_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka/marks"
	"github.com/firstseen/firstseen/adapters/kafka/partitioned"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/servertest"
)

// figures skips what only measures, unless FIRSTSEEN_FIGURES asks for it: a number
// that the size is multiplied with.
func figures(t *testing.T) (brokers string, scale float64) {
	t.Helper()
	scale, err := strconv.ParseFloat(os.Getenv("FIRSTSEEN_FIGURES"), 64)
	if err != nil {
		t.Skip("measures only: set FIRSTSEEN_FIGURES, for example to 1")
	}
	return servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS"), scale
}

// figureTopics makes topics of so many partitions, and an empty log of marks.
func figureTopics(t *testing.T, brokers string, partitions int32) string {
	t.Helper()
	name := fmt.Sprintf("f%d-%d", os.Getpid(), topics.Add(1))
	adm, keep := kadm.NewClient(client(t, brokers)), "-1"
	for _, topic := range []string{name, name + "-out", name + "-marks"} {
		if _, err := adm.CreateTopic(t.Context(), partitions, 1, map[string]*string{"retention.ms": &keep}, topic); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

// figureKey is the i-th of many keys: 16 bytes that no two share.
func figureKey(i uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, i*0x9e3779b97f4a7c15), i)
}

// writeMarks appends the keys from..to to the log of a partition, 10,000 in a record.
func writeMarks(t *testing.T, cl *kgo.Client, topic string, id int32, from, to uint64) {
	t.Helper()
	var failed error
	for from < to {
		n := min(10_000, to-from)
		keys := make([][]byte, n)
		for i := range keys {
			keys[i] = figureKey(from + uint64(i))
		}
		from += n
		value, _ := marks.Append(nil, time.Now(), keys, 900_000)
		cl.Produce(t.Context(), &kgo.Record{Topic: topic + "-marks", Partition: id, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}

// runNode runs a node until all its partitions are ready, and stop is called.
func runNode(t *testing.T, brokers, topic, dir string, partitions int, opts ...kgo.Opt) (n *partitioned.Node, stop func()) {
	t.Helper()
	return runNodeIn(t, brokers, topic, dir, partitions, 0, opts...)
}

// runNodeIn is runNode with a memory budget.
func runNodeIn(t *testing.T, brokers, topic, dir string, partitions int, budget int64, opts ...kgo.Opt) (n *partitioned.Node, stop func()) {
	t.Helper()
	n, err := partitioned.New(partitioned.Options{
		Dir: dir, Input: topic, Output: topic + "-out", Group: topic, AnyPartition: true,
		Client: append(opts, kgo.SeedBrokers(brokers), kgo.FetchMaxWait(200*time.Millisecond)),
		Engine: engine.Options{Window: 24 * time.Hour, Sync: engine.SyncInterval, MinFreeDisk: -1, MemoryBudget: budget},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }() // ends with stop
	for ready := 0; ready < partitions; {
		ready = 0
		for _, p := range n.Stats().Partitions {
			if p.Ready {
				ready++
			}
		}
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return n, func() {
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// wantKnown has a node copy records: none of them comes out, but for the last one,
// which is new.
func wantKnown(t *testing.T, n *partitioned.Node, brokers, topic string, known []uint64, fresh uint64) {
	t.Helper()
	before := n.Stats()
	rs := make([]*kgo.Record, 0, len(known)+1)
	for _, i := range append(known, fresh) {
		rs = append(rs, &kgo.Record{Topic: topic, Partition: 0, Key: figureKey(i), Value: []byte("v")})
	}
	manual := client(t, brokers, kgo.UnknownTopicRetries(-1), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := manual.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for giveUp := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		s := n.Stats()
		if f, d := s.Fresh-before.Fresh, s.Duplicate-before.Duplicate; f+d == uint64(len(rs)) {
			if f != 1 {
				t.Errorf("%d of %d known keys were taken for new", f-1, len(known))
			}
			return
		}
		if time.Now().After(giveUp) {
			t.Fatalf("%+v", s)
		}
	}
}

// TestFiguresTakeOver: how long a partition's takeover lasts, from an empty directory
// and with one that is 1 % behind. FIRSTSEEN_FIGURES=1 has 100 M keys.
func TestFiguresTakeOver(t *testing.T) {
	brokers, scale := figures(t)
	total := uint64(100e6 * scale)
	topic, dir := figureTopics(t, brokers, 1), filepath.Join(t.TempDir(), "d")
	producer := client(t, brokers, kgo.UnknownTopicRetries(-1), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	writeMarks(t, producer, topic, 0, 0, total*99/100)
	tell := func(what string, n *partitioned.Node) {
		p := n.Stats().Partitions[0]
		t.Logf("%s: %d keys, %d bytes in %v, %.2f M keys/s", what, p.Replay.Keys, p.Replay.Bytes, p.Replay.Took.Round(time.Millisecond),
			float64(p.Replay.Keys)/p.Replay.Took.Seconds()/1e6)
	}
	n, stop := runNode(t, brokers, topic, dir, 1)
	tell("from an empty directory", n)
	stop()
	writeMarks(t, producer, topic, 0, total*99/100, total)
	n, stop = runNode(t, brokers, topic, dir, 1)
	tell("1 % behind", n)
	var known []uint64
	for i := uint64(0); i < total; i += total / 5000 {
		known = append(known, i)
	}
	wantKnown(t, n, brokers, topic, append(known, total-1), total)
	stop()
}

// TestFiguresPartitions: what 32 partitions of 1 M keys each take in one process, with a
// budget of 80 MiB each.
func TestFiguresPartitions(t *testing.T) {
	brokers, scale := figures(t)
	const partitions = 32
	each := uint64(1e6 * scale)
	topic := figureTopics(t, brokers, partitions)
	manual := client(t, brokers, kgo.UnknownTopicRetries(-1), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for id := range int32(partitions) {
		writeMarks(t, manual, topic, id, uint64(id)*each, uint64(id+1)*each)
	}
	before := resources(t)
	began := time.Now()
	n, stop := runNodeIn(t, brokers, topic, filepath.Join(t.TempDir(), "d"), partitions, partitions*80<<20)
	t.Logf("%d keys loaded in %v", n.Stats().LoadedKeys, time.Since(began).Round(time.Millisecond))
	rest := resources(t)
	for id := range int32(partitions) {
		for i := range 2000 {
			manual.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: id, Key: figureKey(uint64(id)*each + uint64(i)%1000 + each - 500)}, nil)
		}
	}
	if err := manual.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	most := rest
	for s := n.Stats(); s.Fresh+s.Duplicate < partitions*2000; s = n.Stats() {
		now := resources(t)
		most.anon, most.goroutines, most.files = max(most.anon, now.anon), max(most.goroutines, now.goroutines), max(most.files, now.files)
		<-time.After(20 * time.Millisecond)
	}
	if s := n.Stats(); s.Fresh != partitions*500 { // 500 of 1,000 keys are another partition's
		t.Errorf("%d keys were taken for new", s.Fresh)
	}
	t.Logf("before the node: %v", before)
	t.Logf("at rest: %v, %d MB a partition", rest, (rest.anon-before.anon)/partitions>>20)
	t.Logf("under load: %v, %d MB a partition", most, (most.anon-before.anon)/partitions>>20)
	stop()
}

// resources is what this process has.
type resourceUse struct {
	anon              int64
	goroutines, files int
}

func (r resourceUse) String() string {
	return fmt.Sprintf("%d MB anonymous, %d goroutines, %d descriptors", r.anon>>20, r.goroutines, r.files)
}

func resources(t *testing.T) resourceUse {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc here")
	}
	m := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(status)
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return resourceUse{kb << 10, runtime.NumGoroutine(), len(files)}
}

// TestFiguresThroughput: a node beside the same transactional consumer without
// deduplication, in turn, five times: the medians count.
func TestFiguresThroughput(t *testing.T) {
	brokers, scale := figures(t)
	messages := int(300_000 * scale)
	producer := client(t, brokers, kgo.UnknownTopicRetries(-1))
	value := bytes.Repeat([]byte("v"), 100)
	var bare, node []time.Duration
	for range 5 {
		for _, dedups := range []bool{false, true} {
			topic := figureTopics(t, brokers, partitions)
			for i := range messages {
				producer.Produce(t.Context(), &kgo.Record{Topic: topic, Key: figureKey(uint64(i)), Value: value}, nil)
			}
			if err := producer.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if dedups {
				node = append(node, timeNode(t, brokers, topic, messages))
			} else {
				bare = append(bare, timeBare(t, brokers, topic, messages))
			}
		}
	}
	median := func(ds []time.Duration) time.Duration { return slices.Sorted(slices.Values(ds))[len(ds)/2] }
	rate := func(d time.Duration) float64 { return float64(messages) / d.Seconds() }
	t.Logf("without deduplication %.0f messages/s %v, with it %.0f messages/s %v: %.1f %%", rate(median(bare)), bare, rate(median(node)), node,
		100*float64(median(bare))/float64(median(node)))
}

// A stopwatch measures a client from the first records that came to the end of the
// last transaction.
type stopwatch struct{ first, last atomic.Int64 }

// OnBrokerRead implements kgo.HookBrokerRead.
func (s *stopwatch) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	const fetch = 1
	switch key {
	case fetch:
		s.first.CompareAndSwap(0, time.Now().UnixNano())
	case endTxn:
		s.last.Store(time.Now().UnixNano())
	}
}

func (s *stopwatch) took() time.Duration { return time.Duration(s.last.Load() - s.first.Load()) }

// timeNode measures a node.
func timeNode(t *testing.T, brokers, topic string, messages int) time.Duration {
	t.Helper()
	var watch stopwatch
	n, stop := runNode(t, brokers, topic, filepath.Join(t.TempDir(), topic), partitions, kgo.WithHooks(&watch))
	defer stop()
	for s := n.Stats(); s.Fresh < uint64(messages); s = n.Stats() { // the stopwatch is exact; Stats takes time of the processors
		<-time.After(200 * time.Millisecond)
	}
	for behind := int64(1); behind > 0; {
		var err error
		if behind, err = lag(t.Context(), kadm.NewClient(client(t, brokers)), topic); err != nil {
			t.Fatal(err)
		}
	}
	if s := n.Stats(); s.Fresh != uint64(messages) || s.Duplicate != 0 {
		t.Errorf("%+v", s)
	}
	return watch.took()
}

// timeBare is a consumer as the node's, without memory and marks.
func timeBare(t *testing.T, brokers, topic string, messages int) time.Duration {
	t.Helper()
	var watch stopwatch
	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(brokers), kgo.WithHooks(&watch), kgo.FetchMaxWait(200*time.Millisecond), kgo.ConsumerGroup(topic),
		kgo.ConsumeTopics(topic), kgo.TransactionalID(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for copied := 0; copied < messages; {
		fetches := s.PollRecords(t.Context(), 10_000)
		if err := s.Begin(); err != nil {
			t.Fatal(err)
		}
		promise := kgo.AbortingFirstErrPromise(s.Client())
		fetches.EachRecord(func(r *kgo.Record) {
			s.Produce(t.Context(), &kgo.Record{Topic: topic + "-out", Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers,
				Timestamp: r.Timestamp}, promise.Promise())
		})
		if committed, err := s.End(t.Context(), kgo.TransactionEndTry(promise.Err() == nil)); err != nil || !committed {
			t.Fatal(committed, err)
		}
		copied += fetches.NumRecords()
	}
	return watch.took()
}
