package testguards

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/servertest"
	redisstore "github.com/firstseen/firstseen/stores/redis"
)

// Window is that of all guards.
const Window = 7 * 24 * time.Hour

// A Memory is a kind of memory of keys.
type Memory struct {
	Name string
	// Addr starts the server that the tests of a package share, and returns its
	// host and port; nil where the memory takes no server.
	Addr func(t testing.TB) string
	// OpenAt opens the memory that belongs to dir, at the address of a server.
	OpenAt func(addr, dir string, lease time.Duration) (g dedup.Guard, closeGuard func() error, err error)
}

// Memories returns all kinds, the engine first.
func Memories() []Memory {
	return []Memory{
		{"engine", nil, func(_, dir string, lease time.Duration) (dedup.Guard, func() error, error) {
			return OpenEngine(dir, lease)
		}},
		{"redis", sharedAddr(servertest.Redis, "REDIS_ADDR"), openRedis},
		{"mariadb", sharedAddr(MariaDB.kind, MariaDB.variable), openMariaDB},
	}
}

func sharedAddr(kind, name string) func(testing.TB) string {
	return func(t testing.TB) string {
		t.Helper()
		addr := servertest.Shared(t, kind).Env(name)
		// Child processes have no servertest, but the environment.
		if err := os.Setenv(envOf(kind), addr); err != nil {
			t.Fatal(err)
		}
		return addr
	}
}

func envOf(kind string) string { return "FIRSTSEEN_TEST_" + strings.ToUpper(kind) }

// Guard opens the memory for one test or benchmark, with a lease of a minute.
func (m Memory) Guard(tb testing.TB) dedup.Guard {
	tb.Helper()
	if m.Addr != nil {
		m.Addr(tb)
	}
	g, closeGuard, err := m.Open(tb.TempDir(), time.Minute)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := closeGuard(); err != nil {
			tb.Errorf("testguards: closing %s: %v", m.Name, err)
		}
	})
	return g
}

// Engine opens the embedded engine for one test, as Memory.Guard does.
func Engine(tb testing.TB) dedup.Guard {
	tb.Helper()
	return Memories()[0].Guard(tb)
}

// Open is adaptertest.Config.Guard: the shared server, which Addr has started here
// or in the parent process.
func (m Memory) Open(dir string, lease time.Duration) (dedup.Guard, func() error, error) {
	return m.OpenAt(os.Getenv(envOf(m.Name)), dir, lease)
}

// OpenEngine opens the embedded engine in dir, which syncs before every answer.
func OpenEngine(dir string, lease time.Duration) (dedup.Guard, func() error, error) {
	e, err := engine.Open(dir, engine.Options{Window: Window, Lease: lease, MinFreeDisk: -1})
	if err != nil {
		return nil, nil, err
	}
	return e, e.Close, nil
}

// nameOf is a name for the memory of dir on a server.
func nameOf(dir string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(dir))
	return fmt.Sprintf("m%x", h.Sum64())
}

func openRedis(addr, dir string, lease time.Duration) (dedup.Guard, func() error, error) {
	client := redis.NewClient(&redis.Options{Addr: addr})
	s, err := redisstore.New(client, redisstore.Options{Window: Window, Lease: lease, Prefix: nameOf(dir)})
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return s, client.Close, nil
}

func openMariaDB(addr, dir string, lease time.Duration) (dedup.Guard, func() error, error) {
	_, s, closeAll, err := MariaDB.open(addr, dir, lease)
	return s, closeAll, err
}
