package rocketmq_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/internal/rocketadmin"
	"github.com/firstseen/firstseen/adapters/rocketmq"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/servertest"
)

var (
	simple = adaptertest.Config{
		Name: "simple", NewTopic: newTopic, Produce: produce, Consume: consumeSimple, Guard: openEngine,
		Patience: 90 * time.Second, Quiet: 3 * time.Second,
	}
	push = adaptertest.Config{
		Name: "push", NewTopic: newTopic, Produce: produce, Consume: consumePush, Guard: openEngine,
		Patience: 150 * time.Second, Quiet: 3 * time.Second,
	}
)

func TestMain(m *testing.M) {
	logs, err := os.MkdirTemp("", "rocketmq-logs-")
	if err != nil {
		panic(err)
	}
	if err := errors.Join(os.Setenv("rocketmq.client.logRoot", logs), os.Setenv("rocketmq.client.logLevel", "error")); err != nil {
		panic(err)
	}
	rmq.ResetLogger()
	rmq.EnableSsl = false
	adaptertest.Main(servertest.With(m), simple, push)
}

var topics atomic.Int64

// newTopic makes a topic and a group of its own name.
func newTopic(t testing.TB) string {
	s := servertest.Shared(t, servertest.RocketMQ)
	name := fmt.Sprintf("t%d-%d", os.Getpid(), topics.Add(1))
	broker := s.Env("ROCKETMQ_BROKER")
	if err := rocketadmin.Topic(broker, name, "NORMAL"); err != nil {
		t.Fatal(err)
	}
	if err := rocketadmin.Group(broker, name, false, 16); err != nil {
		t.Fatal(err)
	}
	return s.Env("ROCKETMQ_ENDPOINT") + " " + name
}

func config(address string) (c *rmq.Config, topic string) {
	endpoint, topic, _ := strings.Cut(address, " ")
	return &rmq.Config{Endpoint: endpoint, ConsumerGroup: topic, Credentials: &credentials.SessionCredentials{}}, topic
}

func produce(t testing.TB, address string, keys ...string) {
	c, topic := config(address)
	p, err := rmq.NewProducer(c, rmq.WithTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	if err := start(p.Start); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.GracefulStop() }()
	for _, key := range keys {
		m := &rmq.Message{Topic: topic, Body: []byte("key:" + key)}
		if key != "" {
			m.SetKeys(strings.ReplaceAll(key, " ", "_")) // KEYS is a list separated by spaces
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		_, err := p.Send(ctx, m)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// start tries again for a while: on a busy machine a proxy that has just begun
// misses the client's deadline of three seconds.
func start(begin func() error) error {
	end := time.Now().Add(time.Minute)
	for {
		err := begin()
		if err == nil || time.Now().After(end) {
			return err
		}
		<-time.After(time.Second)
	}
}

func handle(s adaptertest.Session) rocketmq.Handler {
	return func(ctx context.Context, m *rmq.MessageView) error {
		return s.Handle(ctx, strings.TrimPrefix(string(m.GetBody()), "key:"))
	}
}

func consumeSimple(ctx context.Context, s adaptertest.Session) error {
	a, err := rocketmq.New(s.Guard, rocketmq.Options{Application: "test", Invisible: 10 * time.Second})
	if err != nil {
		return err
	}
	c, topic := config(s.Address)
	sc, err := rmq.NewSimpleConsumer(c, rmq.WithSimpleAwaitDuration(5*time.Second),
		rmq.WithSimpleSubscriptionExpressions(map[string]*rmq.FilterExpression{topic: rmq.SUB_ALL}))
	if err != nil {
		return err
	}
	if err := start(sc.Start); err != nil {
		return err
	}
	err = a.Run(ctx, sc, handle(s))
	_ = sc.GracefulStop()
	return err
}

func consumePush(ctx context.Context, s adaptertest.Session) error {
	a, err := rocketmq.New(s.Guard, rocketmq.Options{Application: "test"})
	if err != nil {
		return err
	}
	c, topic := config(s.Address)
	pc, err := rmq.NewPushConsumer(c, rmq.WithPushMessageListener(a.Listener(handle(s))), rmq.WithPushAwaitDuration(5*time.Second),
		rmq.WithPushSubscriptionExpressions(map[string]*rmq.FilterExpression{topic: rmq.SUB_ALL}))
	if err != nil {
		return err
	}
	if err := start(pc.Start); err != nil {
		return err
	}
	<-ctx.Done()
	err = pc.GracefulStop()
	if cerr := a.Close(context.WithoutCancel(ctx)); err == nil {
		err = cerr
	}
	return err
}

func openEngine(dir string, lease time.Duration) (dedup.Guard, func() error, error) {
	e, err := engine.Open(dir, engine.Options{Window: rocketmq.Window, Lease: lease, MinFreeDisk: -1})
	if err != nil {
		return nil, nil, err
	}
	return e, e.Close, nil
}

// TestSimpleConsumer takes minutes with the broker's pauses between deliveries.
func TestSimpleConsumer(t *testing.T) {
	needsBroker(t)
	adaptertest.Run(t, simple)
}

// TestPushConsumer: the client takes up to half a minute to stop, at every case.
func TestPushConsumer(t *testing.T) {
	needsLong(t)
	adaptertest.Run(t, push)
}

// TestPushSentTwice: of messages that come twice, some of whose handlers fail at
// first, each has one effect.
func TestPushSentTwice(t *testing.T) {
	needsBroker(t)
	e, closeEngine, err := openEngine(t.TempDir(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = closeEngine() }()
	address := newTopic(t)
	var keys []string
	for i := range 30 {
		keys = append(keys, fmt.Sprintf("twice-%d", i))
	}
	produce(t, address, keys...)
	produce(t, address, keys...)
	var mu sync.Mutex
	effects, failed, done := map[string]int{}, map[string]bool{}, make(chan struct{})
	s := adaptertest.Session{Address: address, Guard: e, Handle: func(_ context.Context, key string) error {
		mu.Lock()
		defer mu.Unlock()
		if !failed[key] && strings.HasSuffix(key, "7") {
			failed[key] = true
			return errors.New("fails at first")
		}
		if effects[key]++; len(effects) == len(keys) {
			select {
			case <-done:
			default:
				close(done)
			}
		}
		return nil
	}}
	ctx, stop := context.WithTimeout(context.Background(), 4*time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- consumePush(ctx, s) }()
	select {
	case <-done:
	case err := <-ended:
		t.Fatalf("the consumer ended: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, key := range keys {
		if effects[key] != 1 {
			t.Errorf("%s has %d effects", key, effects[key])
		}
	}
	if len(failed) != 3 {
		t.Errorf("%d keys failed at first, want 3", len(failed))
	}
}

func TestStorm(t *testing.T) {
	needsBroker(t)
	s := adaptertest.Storm{Messages: 1000, Kills: 3}
	if long() {
		s = adaptertest.Storm{Messages: 100_000, Kills: 20}
	}
	adaptertest.RunStorm(t, simple, s)
}

func long() bool { return os.Getenv("FIRSTSEEN_SERVERS") == "long" }

// needsBroker leaves these tests, which take minutes, to make servers.
func needsBroker(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("!!! SKIPPED with -short: make servers runs it on a real broker")
	}
}

func needsLong(t *testing.T) {
	t.Helper()
	if needsBroker(t); !long() {
		t.Skip("!!! SKIPPED but in the long form: make servers-long runs it")
	}
}
