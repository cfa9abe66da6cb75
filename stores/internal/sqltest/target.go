package sqltest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

var ctx = context.Background()

// A Store is what the tests call.
type Store interface {
	dedup.Guard
	Contains(ctx context.Context, key []byte) (bool, error)
	Forget(ctx context.Context, key []byte) error
	Stats() sqlstore.Stats
	Ping(ctx context.Context) error
	Migrate(ctx context.Context) error
	Sweep(ctx context.Context) (int, error)
	CommitTx(ctx context.Context, tx *sql.Tx, claims ...dedup.Claim) error
	AdmitTx(ctx context.Context, tx *sql.Tx, keys ...[]byte) ([]dedup.Verdict, error)
	Close() error
}

// A Target is a store with its database.
type Target struct {
	Kind string // of servertest
	// Addr is where a server listens, Open makes a pool for an address.
	Addr func(*servertest.Server) string
	Open func(addr string) (*sql.DB, error)
	// OpenSerializable is Open with that isolation level as the sessions' own.
	OpenSerializable func(addr string) (*sql.DB, error)
	New              func(db *sql.DB, o sqlstore.Options) (Store, *sqlstore.Store, error)
}

// Long says whether the tests have hours.
func Long() bool { return os.Getenv("FIRSTSEEN_SERVERS") == "long" }

var tables atomic.Int64

func newTable() string { return fmt.Sprintf("keys_%d", tables.Add(1)) }

// open makes a pool that ends with the test.
func (g Target) open(tb testing.TB, addr string) *sql.DB {
	tb.Helper()
	db, err := g.Open(addr)
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// store makes a store that ends with the test. It doesn't sweep by itself unless
// o says so.
func (g Target) store(tb testing.TB, db *sql.DB, o sqlstore.Options) (Store, *sqlstore.Store) {
	tb.Helper()
	if o.Window == 0 {
		o.Window = time.Hour
	}
	if o.SweepEvery == 0 {
		o.SweepEvery = -1
	}
	s, inner, err := g.New(db, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s, inner
}

// fresh makes a store with a table of its own on the shared server.
func (g Target) fresh(tb testing.TB, o sqlstore.Options) (Store, *sql.DB) {
	tb.Helper()
	db := g.open(tb, g.Addr(servertest.Shared(tb, g.Kind)))
	if o.Table == "" {
		o.Table = newTable()
	}
	s, _ := g.store(tb, db, o)
	if err := s.Migrate(ctx); err != nil {
		tb.Fatal(err)
	}
	return s, db
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func execute(tb testing.TB, q sqlstore.Querier, query string, args ...any) {
	tb.Helper()
	if _, err := q.ExecContext(ctx, query, args...); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
}

func count(tb testing.TB, db *sql.DB, query string, args ...any) (n int) {
	tb.Helper()
	if err := db.QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return n
}
