package redisstore

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/internal/servertest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	if config := os.Getenv(stormEnv); config != "" {
		if err := stormProcess(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(servertest.Main(m))
}

var ctx = context.Background()

// clientOf returns a client of a server that the test's end closes.
func clientOf(t testing.TB, s *servertest.Server) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Env("REDIS_ADDR")})
	t.Cleanup(func() { c.Close() })
	return c
}

func shared(t testing.TB) *redis.Client {
	t.Helper()
	return clientOf(t, servertest.Shared(t, servertest.Redis))
}

var prefixes atomic.Int64

// ownPrefix keeps a test's records apart from all others'.
func ownPrefix() string { return fmt.Sprintf("test%d", prefixes.Add(1)) }

// open returns a Store with records of its own, unless o has a Prefix.
func open(t testing.TB, client redis.UniversalClient, o Options) *Store {
	t.Helper()
	if o.Window == 0 {
		o.Window = time.Hour
	}
	if o.Prefix == "" {
		o.Prefix = ownPrefix()
	}
	s, err := New(client, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// quiet keeps the client from printing that connections failed: tests cut them.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
