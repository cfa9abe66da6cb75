package watermill_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	wm "github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/watermill"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/internal/testguards"
)

const group = "g"

var config = adaptertest.Config{
	Name: "router", NewTopic: newTopic, Produce: produce, Consume: consumeRouter, Guard: testguards.OpenEngine, Drained: drained,
	Patience: time.Minute,
}

func TestMain(m *testing.M) { adaptertest.Main(servertest.With(m), config) }

var topics, consumers atomic.Int64

// newTopic makes a stream of a name of its own, and its group.
func newTopic(t testing.TB) string {
	t.Helper()
	addr := servertest.Shared(t, servertest.Redis).Env("REDIS_ADDR")
	name := fmt.Sprintf("t%d", topics.Add(1))
	db := redis.NewClient(&redis.Options{Addr: addr})
	defer db.Close()
	if err := db.XGroupCreateMkStream(t.Context(), name, group, "0").Err(); err != nil {
		t.Fatal(err)
	}
	return addr + " " + name
}

func produce(t testing.TB, address string, keys ...string) {
	t.Helper()
	addr, topic, _ := strings.Cut(address, " ")
	db := redis.NewClient(&redis.Options{Addr: addr})
	defer db.Close()
	p := newPublisher(t, db)
	for _, key := range keys {
		if err := p.Publish(topic, message.NewMessage(key, []byte(key))); err != nil {
			t.Fatal(err)
		}
	}
}

func newPublisher(t testing.TB, db *redis.Client) message.Publisher {
	t.Helper()
	p, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: db}, wm.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func drained(address string) (bool, error) {
	addr, topic, _ := strings.Cut(address, " ")
	db := redis.NewClient(&redis.Options{Addr: addr})
	defer db.Close()
	groups, err := db.XInfoGroups(context.Background(), topic).Result()
	if err != nil {
		return false, err
	}
	return groups[0].Lag == 0 && groups[0].Pending == 0, nil
}

func newSubscriber(db *redis.Client) (message.Subscriber, error) {
	return redisstream.NewSubscriber(redisstream.SubscriberConfig{
		Client: db, ConsumerGroup: group, Consumer: fmt.Sprintf("c%d-%d", os.Getpid(), consumers.Add(1)),
		NackResendSleep: 20 * time.Millisecond, BlockTime: 50 * time.Millisecond,
		// Watermill does not tell Redis of handlers that are slow: with less, another consumer gets their messages.
		ClaimInterval: 200 * time.Millisecond, MaxIdleTime: time.Second,
	}, wm.NopLogger{})
}

func consumeRouter(ctx context.Context, s adaptertest.Session) error {
	addr, topic, _ := strings.Cut(s.Address, " ")
	db := redis.NewClient(&redis.Options{Addr: addr})
	defer db.Close()
	sub, err := newSubscriber(db)
	if err != nil {
		return err
	}
	pub, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: db}, wm.NopLogger{})
	if err != nil {
		return err
	}
	a, err := watermill.New(s.Guard, watermill.Options{Application: "test", Pause: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	poison, err := middleware.PoisonQueueWithFilter(pub, topic+".poison", func(err error) bool { return errors.Is(err, consume.ErrReject) })
	if err != nil {
		return err
	}
	router, err := message.NewRouter(message.RouterConfig{}, wm.NopLogger{})
	if err != nil {
		return err
	}
	h := router.AddConsumerHandler("handler", topic, sub, func(m *message.Message) error { return s.Handle(m.Context(), string(m.Payload)) })
	h.AddMiddleware(poison, a.Middleware)
	if err := router.Run(ctx); err != nil {
		return err
	}
	return a.Close(context.WithoutCancel(ctx))
}

func TestRouter(t *testing.T) { adaptertest.Run(t, config) }

func TestStorm(t *testing.T) {
	s := adaptertest.Storm{Messages: 500, Kills: 2}
	if os.Getenv("FIRSTSEEN_SERVERS") == "long" {
		s = adaptertest.Storm{Messages: 20_000, Kills: 20}
	}
	adaptertest.RunStorm(t, config, s)
}
