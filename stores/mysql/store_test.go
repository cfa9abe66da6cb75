package mysqlstore_test

import (
	"database/sql"
	"os"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
	"github.com/firstseen/firstseen/stores/internal/sqltest"
	mysqlstore "github.com/firstseen/firstseen/stores/mysql"
)

func TestMain(m *testing.M) { os.Exit(target.Main(m, servertest.Main)) }

var target = sqltest.Target{
	Kind: servertest.MariaDB,
	Addr: func(s *servertest.Server) string { return s.Env("MARIADB_ADDR") },
	Open: func(addr string) (*sql.DB, error) {
		return sql.Open("mysql", "firstseen:firstseen@tcp("+addr+")/firstseen")
	},
	OpenSerializable: func(addr string) (*sql.DB, error) {
		return sql.Open("mysql", "firstseen:firstseen@tcp("+addr+")/firstseen?tx_isolation=%27SERIALIZABLE%27")
	},
	New: func(db *sql.DB, o sqlstore.Options) (sqltest.Store, *sqlstore.Store, error) {
		s, err := mysqlstore.New(db, o)
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

// TestInboxKilled: kill -9 at every step between an effect and its commit.
func TestInboxKilled(t *testing.T) {
	t.Parallel()
	times := 24
	if sqltest.Long() {
		times = 240
	}
	target.Killed(t, times)
}
