package rocketmqv4_test

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

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/internal/rocketadmin"
	"github.com/firstseen/firstseen/adapters/rocketmqv4"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/servertest"
)

var (
	concurrent = adaptertest.Config{
		Name: "concurrent", NewTopic: newTopic, Produce: produce, Guard: openEngine,
		Consume: func(ctx context.Context, s adaptertest.Session) error { return run(ctx, s, false) },
		// A new group's first retry takes the client up to 40 s.
		Patience: 3 * time.Minute, Quiet: 5 * time.Second,
	}
	orderly = adaptertest.Config{
		Name: "orderly", NewTopic: newTopic, Produce: produce, Guard: openEngine,
		Consume:  func(ctx context.Context, s adaptertest.Session) error { return run(ctx, s, true) },
		Patience: 3 * time.Minute, Quiet: 5 * time.Second,
	}
)

func TestMain(m *testing.M) {
	rlog.SetLogLevel("fatal")
	adaptertest.Main(servertest.With(m), concurrent, orderly)
}

var topics atomic.Int64

func newTopic(t testing.TB) string {
	s := servertest.Shared(t, servertest.RocketMQ)
	name := fmt.Sprintf("v4t%d-%d", os.Getpid(), topics.Add(1))
	broker := s.Env("ROCKETMQ_BROKER")
	if err := errors.Join(rocketadmin.Topic(broker, name, "NORMAL"), rocketadmin.Group(broker, name, false, 16)); err != nil {
		t.Fatal(err)
	}
	return s.Env("ROCKETMQ_NAMESRV") + " " + name
}

func produce(t testing.TB, address string, keys ...string) {
	namesrv, topic, _ := strings.Cut(address, " ")
	p, err := rocketmq.NewProducer(producer.WithNameServer([]string{namesrv}), producer.WithGroupName("p"+topic),
		producer.WithInstanceName(fmt.Sprint("p", topics.Add(1))), producer.WithRetry(5))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Shutdown() }()
	for _, key := range keys {
		m := primitive.NewMessage(topic, []byte("key:"+key)).WithTag("T")
		if key != "" {
			m.WithKeys([]string{strings.ReplaceAll(key, " ", "_")}) // KEYS is a list separated by spaces
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		_, err := p.SendSync(ctx, m)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
}

var instances atomic.Int64

func run(ctx context.Context, s adaptertest.Session, inOrder bool) error {
	a, err := rocketmqv4.New(s.Guard, rocketmqv4.Options{Application: "test"})
	if err != nil {
		return err
	}
	namesrv, topic, _ := strings.Cut(s.Address, " ")
	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer([]string{namesrv}), consumer.WithGroupName(topic),
		consumer.WithInstance(fmt.Sprintf("%d-%d", os.Getpid(), instances.Add(1))),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithConsumerOrder(inOrder))
	if err != nil {
		return err
	}
	handle := func(ctx context.Context, m *primitive.MessageExt) error {
		return s.Handle(ctx, strings.TrimPrefix(string(m.Body), "key:"))
	}
	listen := a.Concurrent(handle)
	if inOrder {
		listen = a.Orderly(handle)
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{}, listen); err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	err = c.Shutdown()
	return errors.Join(err, a.Close(context.WithoutCancel(ctx)))
}

func openEngine(dir string, lease time.Duration) (dedup.Guard, func() error, error) {
	e, err := engine.Open(dir, engine.Options{Window: rocketmqv4.Window, Lease: lease, MinFreeDisk: -1})
	if err != nil {
		return nil, nil, err
	}
	return e, e.Close, nil
}

// TestSentTwice: of messages that come twice, some of whose handlers fail or panic
// at first, each has one effect, with both kinds of listeners.
func TestSentTwice(t *testing.T) {
	needsBroker(t)
	for name, c := range map[string]adaptertest.Config{"concurrent": concurrent, "orderly": orderly} {
		t.Run(name, func(t *testing.T) { sentTwice(t, c) })
	}
}

func sentTwice(t *testing.T, c adaptertest.Config) {
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
	produce(t, address, append(keys, keys...)...)
	var mu sync.Mutex
	effects, failed, done := map[string]int{}, map[string]bool{}, make(chan struct{})
	s := adaptertest.Session{Address: address, Guard: e, Handle: func(_ context.Context, key string) error {
		mu.Lock()
		defer mu.Unlock()
		if !failed[key] && strings.HasSuffix(key, "7") {
			if failed[key] = true; key == "twice-17" {
				panic("panics at first")
			}
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
	go func() { ended <- c.Consume(ctx, s) }()
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

// TestConcurrentListener and TestOrderlyListener take many minutes with the
// broker's pauses between deliveries.
func TestConcurrentListener(t *testing.T) {
	needsLong(t)
	adaptertest.Run(t, concurrent)
}

func TestOrderlyListener(t *testing.T) {
	needsLong(t)
	adaptertest.Run(t, orderly)
}

func TestStorm(t *testing.T) {
	needsLong(t)
	adaptertest.RunStorm(t, concurrent, adaptertest.Storm{Messages: 100_000, Kills: 20})
}

// needsBroker leaves these tests, which take minutes, to make servers.
func needsBroker(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("!!! SKIPPED with -short: make servers runs it on a real broker")
	}
}

func needsLong(t *testing.T) {
	t.Helper()
	if needsBroker(t); os.Getenv("FIRSTSEEN_SERVERS") != "long" {
		t.Skip("!!! SKIPPED but in the long form: make servers-long runs it")
	}
}
