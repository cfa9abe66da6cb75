package redisstreams_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/redisstreams"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/internal/testguards"
)

const (
	group    = "g"
	keyField = "order"
)

var (
	config = adaptertest.Config{
		Name: "run", NewTopic: newStream, Produce: produce, Consume: consumeRun, Guard: testguards.OpenEngine, Drained: drained,
		Patience: time.Minute,
	}
	inbox = testguards.Inbox(config, testguards.Postgres)
)

func TestMain(m *testing.M) { adaptertest.Main(servertest.With(m), config, inbox) }

var streams, consumers atomic.Int64

// newStream makes a stream of a name of its own, and its group.
func newStream(t testing.TB) string {
	t.Helper()
	addr := servertest.Shared(t, servertest.Redis).Env("REDIS_ADDR")
	name := fmt.Sprintf("s%d", streams.Add(1))
	if err := connect(t, addr).XGroupCreateMkStream(t.Context(), name, group, "0").Err(); err != nil {
		t.Fatal(err)
	}
	return addr + " " + name
}

func connect(t testing.TB, addr string) *redis.Client {
	t.Helper()
	db := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func produce(t testing.TB, address string, keys ...string) {
	t.Helper()
	addr, stream, _ := strings.Cut(address, " ")
	db := redis.NewClient(&redis.Options{Addr: addr})
	defer db.Close()
	p := db.Pipeline()
	for _, key := range keys {
		p.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: []string{keyField, key, "body", "of " + key}})
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func drained(address string) (bool, error) {
	addr, stream, _ := strings.Cut(address, " ")
	db := redis.NewClient(&redis.Options{Addr: addr})
	defer db.Close()
	groups, err := db.XInfoGroups(context.Background(), stream).Result()
	if err != nil {
		return false, err
	}
	return groups[0].Lag == 0 && groups[0].Pending == 0, nil
}

// options have every consumer under a name of its own.
func options(stream string) redisstreams.Options {
	return redisstreams.Options{
		Application: "test", Stream: stream, Group: group, Consumer: fmt.Sprintf("c%d-%d", os.Getpid(), consumers.Add(1)), KeyField: keyField,
		RetryAfter: 50 * time.Millisecond, MinIdle: 500 * time.Millisecond, Poll: 50 * time.Millisecond,
	}
}

func consumeRun(ctx context.Context, s adaptertest.Session) error {
	addr, stream, _ := strings.Cut(s.Address, " ")
	db := redis.NewClient(&redis.Options{Addr: addr})
	defer db.Close()
	a, err := redisstreams.New(s.Guard, db, options(stream))
	if err != nil {
		return err
	}
	return a.Run(ctx, func(ctx context.Context, m redis.XMessage) error { return s.Handle(ctx, m.Values[keyField].(string)) })
}

func TestAdapter(t *testing.T) { adaptertest.Run(t, config) }

func TestStorm(t *testing.T) { adaptertest.RunStorm(t, config, testguards.Storm(1000, 2)) }

// TestStormInbox: where an effect shares a transaction with its mark it happens exactly
// once.
func TestStormInbox(t *testing.T) { adaptertest.RunStorm(t, inbox, testguards.Storm(300, 2)) }
