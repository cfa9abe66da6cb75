package rocketmq_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/internal/rockettest"
	"github.com/firstseen/firstseen/adapters/rocketmq"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/internal/testguards"
)

var (
	simple = adaptertest.Config{
		Name: "simple", NewTopic: newTopic, Produce: produce, Consume: consumeSimple,
		Patience: 2 * time.Minute, Quiet: 3 * time.Second, AtOnce: true,
	}
	push = adaptertest.Config{
		Name: "push", NewTopic: newTopic, Produce: produce, Consume: consumePush,
		Patience: 3 * time.Minute, Quiet: 3 * time.Second, AtOnce: true,
	}
	simples, pushes = testguards.Each(simple), testguards.Each(push)
	inboxes         = []adaptertest.Config{testguards.Inbox(simple, testguards.MariaDB), testguards.Inbox(push, testguards.MariaDB)}
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
	configs := append(append(append([]adaptertest.Config{}, simples...), pushes...), inboxes...)
	adaptertest.Main(servertest.With(m), configs...)
}

func newTopic(t testing.TB) string { return rockettest.NewTopic(t, "ROCKETMQ_ENDPOINT") }

func config(address string) (c *rmq.Config, topic string) {
	endpoint, topic, _ := strings.Cut(address, " ")
	return &rmq.Config{Endpoint: endpoint, ConsumerGroup: topic, Credentials: &credentials.SessionCredentials{}}, topic
}

// One producer serves all tests: starting one takes a second. It ends with the
// process.
var producer struct {
	sync.Mutex
	rmq.Producer
}

func sharedProducer(t testing.TB, address string) rmq.Producer {
	t.Helper()
	producer.Lock()
	defer producer.Unlock()
	if producer.Producer == nil {
		c, topic := config(address)
		p, err := started(func() (rmq.Producer, error) { return rmq.NewProducer(c, rmq.WithTopics(topic)) })
		if err != nil {
			t.Fatal(err)
		}
		producer.Producer = p
	}
	return producer.Producer
}

// produce sends a few messages in their order and many at once.
func produce(t testing.TB, address string, keys ...string) {
	p := sharedProducer(t, address)
	_, topic := config(address)
	rockettest.Produce(t, 128, keys, func(key string) error { return send(p, topic, key) })
}

func send(p rmq.Producer, topic, key string) error {
	m := &rmq.Message{Topic: topic, Body: []byte("key:" + key)}
	if key != "" {
		m.SetKeys(strings.ReplaceAll(key, " ", "_")) // KEYS is a list separated by spaces
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return again(func() error { _, err := p.Send(ctx, m); return err })
}

// again tries again for a while: on a busy machine a proxy misses the client's
// deadline of three seconds now and then.
func again(try func() error) error {
	end := time.Now().Add(time.Minute)
	for {
		err := try()
		if err == nil || time.Now().After(end) {
			return err
		}
		<-time.After(time.Second)
	}
}

// startPatience is how long started waits for a client.
const startPatience = 20 * time.Second

// started makes a client and starts it. A Start whose settings the proxy lost never
// returns; then another client is made and the first one left alone.
func started[C interface{ Start() error }](newClient func() (C, error)) (c C, err error) {
	return c, again(func() error {
		if c, err = newClient(); err != nil {
			return err
		}
		begun, mine := make(chan error, 1), c
		go func() { begun <- mine.Start() }()
		select {
		case err := <-begun:
			return err
		case <-time.After(startPatience):
			return fmt.Errorf("no start within %v", startPatience)
		}
	})
}

func handle(s adaptertest.Session) rocketmq.Handler {
	return func(ctx context.Context, m *rmq.MessageView) error {
		return s.Handle(ctx, strings.TrimPrefix(string(m.GetBody()), "key:"))
	}
}

func options() rocketmq.Options {
	return rocketmq.Options{Application: "test", Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// receivers is how many goroutines of a process call Run with one client.
const receivers = 4

func consumeSimple(ctx context.Context, s adaptertest.Session) error {
	o := options()
	o.Invisible = 10 * time.Second
	a, err := rocketmq.New(s.Guard, o)
	if err != nil {
		return err
	}
	sc, err := startSimple(s.Address)
	if err != nil {
		return err
	}
	errs := make([]error, receivers)
	var running sync.WaitGroup
	for i := range errs {
		running.Go(func() { errs[i] = a.Run(ctx, sc, handle(s)) })
	}
	running.Wait()
	_ = sc.GracefulStop()
	return errors.Join(errs...)
}

func startSimple(address string) (rmq.SimpleConsumer, error) {
	c, topic := config(address)
	return started(func() (rmq.SimpleConsumer, error) {
		return rmq.NewSimpleConsumer(c, rmq.WithSimpleAwaitDuration(5*time.Second),
			rmq.WithSimpleSubscriptionExpressions(map[string]*rmq.FilterExpression{topic: rmq.SUB_ALL}))
	})
}

func consumePush(ctx context.Context, s adaptertest.Session) error {
	a, err := rocketmq.New(s.Guard, options())
	if err != nil {
		return err
	}
	pc, err := startPush(s.Address, a.Listener(handle(s)))
	if err != nil {
		return err
	}
	<-ctx.Done()
	err = pc.GracefulStop()
	return errors.Join(err, a.Close(context.WithoutCancel(ctx)))
}

func startPush(address string, listener *rmq.FuncMessageListener) (rmq.PushConsumer, error) {
	c, topic := config(address)
	return started(func() (rmq.PushConsumer, error) {
		return rmq.NewPushConsumer(c, rmq.WithPushMessageListener(listener), rmq.WithPushAwaitDuration(5*time.Second),
			rmq.WithPushSubscriptionExpressions(map[string]*rmq.FilterExpression{topic: rmq.SUB_ALL}))
	})
}

// few are the cases that the short form runs with every memory.
var few = []string{"SentTwiceFailing", "TwinsOnTwoConsumers", "CrashBeforeCommit"}

// TestSimpleConsumer is the whole suite with the engine, and with the others in
// the long form.
func TestSimpleConsumer(t *testing.T) { rockettest.Suites(t, simples, few, nil) }

// TestPushConsumer is the whole suite in the long form.
func TestPushConsumer(t *testing.T) { rockettest.Suites(t, pushes, few, few) }

// TestStorm: in the long form 100,000 messages, or FIRSTSEEN_STORM of them, and 20
// kills, for both consumers, without and with an inbox.
func TestStorm(t *testing.T) {
	rockettest.NeedsBroker(t)
	if !rockettest.Long() {
		adaptertest.RunStorm(t, simples[0], adaptertest.Storm{Messages: 1000, Kills: 3})
		return
	}
	rockettest.LongStorms(t, append([]adaptertest.Config{simples[0], pushes[0]}, inboxes...)...)
}
