package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/kafka"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/internal/testguards"
)

const partitions = 3

var config = adaptertest.Config{
	Name: "kafka", NewTopic: newTopic, Produce: produce, Consume: consumeTopic, Guard: testguards.OpenEngine, Drained: drained,
	Patience: 90 * time.Second,
}

func TestMain(m *testing.M) { adaptertest.Main(servertest.With(m), config) }

var topics atomic.Int64

// newTopic makes a topic, whose name is also that of its group.
func newTopic(t testing.TB) string {
	brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
	name := fmt.Sprintf("t%d-%d", os.Getpid(), topics.Add(1))
	cl := client(t, brokers)
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), partitions, 1, nil, name); err != nil {
		t.Fatal(err)
	}
	return brokers + " " + name
}

func client(t testing.TB, brokers string, opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func produce(t testing.TB, address string, keys ...string) {
	brokers, topic, _ := strings.Cut(address, " ")
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	if err != nil {
		t.Error(err)
		return
	}
	defer cl.Close()
	rs := make([]*kgo.Record, len(keys))
	for i, key := range keys {
		rs[i] = &kgo.Record{Topic: topic, Value: []byte("key:" + key)}
		if key != "" {
			rs[i].Key = []byte(key)
		}
	}
	if err := cl.ProduceSync(context.Background(), rs...).FirstErr(); err != nil {
		t.Error(err)
	}
}

func consumeTopic(ctx context.Context, s adaptertest.Session) error {
	a, err := kafka.New(s.Guard, kafka.Options{Application: "test", RetryAfter: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	brokers, topic, _ := strings.Cut(s.Address, " ")
	cl, err := kgo.NewClient(append(a.Options(), kgo.SeedBrokers(brokers), kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(300*time.Millisecond))...)
	if err != nil {
		return err
	}
	defer cl.CloseAllowingRebalance()
	return a.Run(ctx, cl, func(ctx context.Context, r *kgo.Record) error {
		return s.Handle(ctx, strings.TrimPrefix(string(r.Value), "key:"))
	})
}

// drained: the group has committed up to the end of every partition.
func drained(address string) (bool, error) {
	brokers, topic, _ := strings.Cut(address, " ")
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	if err != nil {
		return false, err
	}
	defer cl.Close()
	ctx, adm := context.Background(), kadm.NewClient(cl)
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return false, err
	}
	got, err := adm.FetchOffsets(ctx, topic)
	if err != nil {
		return false, err
	}
	behind := false
	ends.Each(func(end kadm.ListedOffset) {
		o, _ := got.Lookup(topic, end.Partition)
		behind = behind || o.At < end.Offset && end.Offset > 0
	})
	return !behind, nil
}

// TestAdapter runs the whole suite with FIRSTSEEN_SERVERS=long; it takes minutes,
// since Kafka notices a killed consumer after six seconds.
func TestAdapter(t *testing.T) {
	if os.Getenv("FIRSTSEEN_SERVERS") != "long" {
		t.Skip("!!! the whole suite on Kafka runs with FIRSTSEEN_SERVERS=long only")
	}
	adaptertest.Run(t, config)
}

func TestStorm(t *testing.T) {
	s := adaptertest.Storm{Messages: 1000, Kills: 2}
	if os.Getenv("FIRSTSEEN_SERVERS") == "long" {
		s = adaptertest.Storm{Messages: 100_000, Kills: 20}
	}
	adaptertest.RunStorm(t, config, s)
}

// start runs an adapter until the test ends.
func start(t *testing.T, address string, guard dedup.Guard, o kafka.Options, h kafka.Handler) *kafka.Adapter {
	t.Helper()
	brokers, topic, _ := strings.Cut(address, " ")
	o.Application, o.RetryAfter = "test", 50*time.Millisecond
	a, err := kafka.New(guard, o)
	if err != nil {
		t.Fatal(err)
	}
	cl := client(t, brokers, append(a.Options(), kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, cl, h) }() // ends with the test
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a
}

// TestOffsetStays: no offset passes a record that fails, and its partition stands
// still while the others go on.
func TestOffsetStays(t *testing.T) {
	address := newTopic(t)
	brokers, topic, _ := strings.Cut(address, " ")
	stuck := "stuck"
	handled := make(chan string, 100)
	var heal atomic.Bool
	start(t, address, testguards.Engine(t), kafka.Options{Batch: 1}, func(_ context.Context, r *kgo.Record) error {
		if key := string(r.Key); key != stuck || heal.Load() {
			handled <- key
			return nil
		}
		return errors.New("not yet")
	})
	at := kafka.KeyPartition([]byte(stuck), partitions)
	var behind, elsewhere []string
	for i := 0; len(behind) < 5 || len(elsewhere) < 5; i++ {
		if key := fmt.Sprint("key", i); kafka.KeyPartition([]byte(key), partitions) == at {
			behind = append(behind, key)
		} else {
			elsewhere = append(elsewhere, key)
		}
	}
	produce(t, address, append(append([]string{stuck}, behind...), elsewhere...)...)
	for range elsewhere {
		if key := <-handled; kafka.KeyPartition([]byte(key), partitions) == at {
			t.Fatalf("%q was handled, which lies behind a record that fails", key)
		}
	}
	// Offsets are committed together: when the other partitions' are there, so is
	// whatever was marked of this one.
	adm := kadm.NewClient(client(t, brokers))
	for giveUp := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		got, err := adm.FetchOffsets(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		if o, ok := got.Lookup(topic, at); ok && o.At > 0 {
			t.Fatalf("offset %d is committed, the record at 0 was never acknowledged", o.At)
		}
		var committed int64
		got.Each(func(o kadm.OffsetResponse) { committed += max(0, o.At) })
		if committed == int64(len(elsewhere)) {
			break
		}
		if time.Now().After(giveUp) {
			t.Fatalf("offsets up to %d are committed of the other partitions, want %d", committed, len(elsewhere))
		}
	}
	heal.Store(true)
	for range len(behind) + 1 {
		if key := <-handled; kafka.KeyPartition([]byte(key), partitions) != at {
			t.Fatalf("%q was handled again", key)
		}
	}
}

// TestDeadLetters: a refused record lies in the topic of dead letters with what
// tells where it comes from; one that is not in its key's partition is counted.
func TestDeadLetters(t *testing.T) {
	address, dead := newTopic(t), newTopic(t)
	brokers, topic, _ := strings.Cut(address, " ")
	_, deadTopic, _ := strings.Cut(dead, " ")
	a := start(t, address, testguards.Engine(t), kafka.Options{DeadLetters: deadTopic}, func(context.Context, *kgo.Record) error {
		return fmt.Errorf("%w: broken", consume.ErrReject)
	})
	wrong := (kafka.KeyPartition([]byte("k"), partitions) + 1) % partitions
	manual := client(t, brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := manual.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: wrong, Key: []byte("k"), Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	reader := client(t, brokers, kgo.ConsumeTopics(deadTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rs := reader.PollFetches(ctx).Records()
	if len(rs) != 1 {
		t.Fatalf("%d dead letters, want 1", len(rs))
	}
	headers := map[string]string{}
	for _, h := range rs[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	if string(rs[0].Value) != "v" || headers[kafka.HeaderTopic] != topic || headers[kafka.HeaderPartition] != fmt.Sprint(wrong) ||
		headers[kafka.HeaderOffset] != "0" || !strings.Contains(headers[kafka.HeaderError], "broken") {
		t.Errorf("dead letter %q with headers %v", rs[0].Value, headers)
	}
	if n := a.Misplaced(); n != 1 {
		t.Errorf("%d records counted as misplaced, want 1", n)
	}
}

// TestRevoked: a handler whose partition is revoked learns it by its context's cause,
// and the record is handled by the next owner.
func TestRevoked(t *testing.T) {
	address := newTopic(t)
	g := testguards.Engine(t)
	began, cause := make(chan struct{}, 1), make(chan error, 1)
	brokers, topic, _ := strings.Cut(address, " ")
	a, err := kafka.New(g, kafka.Options{Application: "test", Grace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	cl := client(t, brokers, append(a.Options(), kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { // ends with cancel
		done <- a.Run(ctx, cl, func(ctx context.Context, _ *kgo.Record) error {
			began <- struct{}{}
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return ctx.Err()
		})
	}()
	produce(t, address, "k")
	<-began
	cancel()
	if err := <-cause; !errors.Is(err, kafka.ErrRevoked) {
		t.Errorf("the handler's cause is %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	cl.CloseAllowingRebalance()
	handled := make(chan string, 1)
	start(t, address, g, kafka.Options{}, func(_ context.Context, r *kgo.Record) error {
		handled <- string(r.Key)
		return nil
	})
	if key := <-handled; key != "k" {
		t.Errorf("handled %q", key)
	}
}

func TestBadOptions(t *testing.T) {
	_, err := kafka.New(testguards.Engine(t), kafka.Options{Batch: -1, Grace: -1, DeadLetters: "d",
		OnReject: func(context.Context, *kgo.Record, error) error { return nil }})
	for _, want := range []string{"Application", "Batch", "Grace", "DeadLetters"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v doesn't name %s", err, want)
		}
	}
	a, err := kafka.New(testguards.Engine(t), kafka.Options{Application: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context(), client(t, "127.0.0.1:1"), nil); err == nil || !strings.Contains(err.Error(), "ConsumerGroup") ||
		!strings.Contains(err.Error(), "AutoCommitMarks") {
		t.Errorf("a client without the adapter's options: %v", err)
	}
}
