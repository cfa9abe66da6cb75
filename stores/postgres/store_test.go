package pgstore_test

import (
	"database/sql"
	"net/url"
	"os"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
	"github.com/firstseen/firstseen/stores/internal/sqltest"
	pgstore "github.com/firstseen/firstseen/stores/postgres"
)

func TestMain(m *testing.M) { os.Exit(target.Main(m, servertest.Main)) }

var target = sqltest.Target{
	Kind: servertest.Postgres,
	Addr: func(s *servertest.Server) string {
		u, err := url.Parse(s.Env("POSTGRES_URL"))
		if err != nil {
			panic(err)
		}
		return u.Host
	},
	Open: func(addr string) (*sql.DB, error) {
		return sql.Open("pgx", "postgres://postgres@"+addr+"/postgres?sslmode=disable")
	},
	OpenSerializable: func(addr string) (*sql.DB, error) {
		return sql.Open("pgx", "postgres://postgres@"+addr+"/postgres?sslmode=disable&default_transaction_isolation=serializable")
	},
	New: func(db *sql.DB, o sqlstore.Options) (sqltest.Store, *sqlstore.Store, error) {
		s, err := pgstore.New(db, o)
		if err != nil {
			return nil, nil, err
		}
		return s, s.Store, nil
	},
}

func TestGuard(t *testing.T) {
	t.Parallel()
	target.Guard(t)
}

func TestOwn(t *testing.T) {
	t.Parallel()
	target.Own(t)
}

func TestInbox(t *testing.T) {
	t.Parallel()
	target.Inbox(t)
}

// TestStress: the server is killed and started again in the middle.
func TestStress(t *testing.T) {
	t.Parallel()
	keys, lease := 1200, time.Second
	if sqltest.Long() {
		keys, lease = 1_000_000, 20*time.Second
	}
	server := servertest.Start(t, target.Kind)
	target.Stress(t, server, keys, lease, func(func(string)) {
		server.Kill()
		server.Restart()
	})
}

// TestFailover: the primary is killed, and its synchronous standby is promoted.
func TestFailover(t *testing.T) {
	t.Parallel()
	keys, lease := 1200, time.Second
	if sqltest.Long() {
		keys, lease = 200_000, 20*time.Second
	}
	server := servertest.Start(t, servertest.Postgres)
	standby := server.Standby()
	target.Stress(t, server, keys, lease, func(lead func(string)) {
		server.Kill()
		standby.Promote()
		lead(target.Addr(standby))
	})
}

// TestInboxKilled: kill -9 at every step between an effect and its commit.
func TestInboxKilled(t *testing.T) {
	t.Parallel()
	times := 24
	if sqltest.Long() {
		times = 240
	}
	target.Killed(t, times)
}
