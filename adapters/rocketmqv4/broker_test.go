package rocketmqv4_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	"github.com/firstseen/firstseen/adapters/internal/rockettest"
	"github.com/firstseen/firstseen/adapters/rocketmqv4"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/internal/testguards"
)

var (
	// A new group's first retry takes the client up to 40 s.
	concurrent = adaptertest.Config{
		Name: "concurrent", NewTopic: newTopic, Produce: produce,
		Consume:  func(ctx context.Context, s adaptertest.Session) error { return run(ctx, s, false) },
		Patience: 3 * time.Minute, Quiet: 5 * time.Second, AtOnce: true,
	}
	orderly = adaptertest.Config{
		Name: "orderly", NewTopic: newTopic, Produce: produce,
		Consume:  func(ctx context.Context, s adaptertest.Session) error { return run(ctx, s, true) },
		Patience: 3 * time.Minute, Quiet: 5 * time.Second, AtOnce: true,
	}
	concurrents, orderlies = testguards.Each(concurrent), testguards.Each(orderly)
	inboxes                = []adaptertest.Config{testguards.Inbox(concurrent, testguards.MariaDB), testguards.Inbox(orderly, testguards.MariaDB)}
)

func TestMain(m *testing.M) {
	rlog.SetLogLevel("fatal")
	configs := append(append(append([]adaptertest.Config{}, concurrents...), orderlies...), inboxes...)
	adaptertest.Main(servertest.With(m), configs...)
}

func newTopic(t testing.TB) string { return rockettest.NewTopic(t, "ROCKETMQ_NAMESRV") }

// One producer serves all tests. It ends with the process.
var shared struct {
	sync.Mutex
	rocketmq.Producer
}

func sharedProducer(t testing.TB, address string) rocketmq.Producer {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.Producer == nil {
		namesrv, topic, _ := strings.Cut(address, " ")
		p, err := rocketmq.NewProducer(producer.WithNameServer([]string{namesrv}), producer.WithGroupName("p"+topic),
			producer.WithInstanceName(fmt.Sprint("p", os.Getpid())), producer.WithRetry(5))
		if err == nil {
			err = p.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		shared.Producer = p
	}
	return shared.Producer
}

// produce sends a few messages in their order and many at once.
func produce(t testing.TB, address string, keys ...string) {
	p := sharedProducer(t, address)
	_, topic, _ := strings.Cut(address, " ")
	rockettest.Produce(t, 32, keys, func(key string) error { return send(p, newMessage(topic, key)) })
}

func newMessage(topic, key string) *primitive.Message {
	m := primitive.NewMessage(topic, []byte("key:"+key)).WithTag("T")
	if key != "" {
		m.WithKeys([]string{strings.ReplaceAll(key, " ", "_")}) // KEYS is a list separated by spaces
	}
	return m
}

func send(p rocketmq.Producer, m *primitive.Message) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := p.SendSync(ctx, m)
	return err
}

func options() rocketmqv4.Options {
	return rocketmqv4.Options{Application: "test", Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

var instances atomic.Int64

func run(ctx context.Context, s adaptertest.Session, inOrder bool) error {
	a, err := rocketmqv4.New(s.Guard, options())
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

// few are the cases that the short form runs with every memory: without the pause of
// 40 s before a group's first retry. With the engine it has SentTwiceFailing too.
var few = []string{"TwinsOnTwoConsumers", "CrashBeforeCommit"}

// TestConcurrentListener and TestOrderlyListener are the whole suite in the long
// form.
func TestConcurrentListener(t *testing.T) {
	rockettest.Suites(t, concurrents, few, append(few, "SentTwiceFailing"))
}

func TestOrderlyListener(t *testing.T) {
	rockettest.Suites(t, orderlies, few, append(few, "SentTwiceFailing"))
}

// TestStorm: 100,000 messages, or FIRSTSEEN_STORM of them, and 20 kills, for both
// listeners, without and with an inbox.
func TestStorm(t *testing.T) {
	rockettest.NeedsBroker(t)
	if !rockettest.Long() {
		t.Skip("!!! SKIPPED but in the long form: make servers-long runs it")
	}
	rockettest.LongStorms(t, append([]adaptertest.Config{concurrents[0], orderlies[0]}, inboxes...)...)
}
