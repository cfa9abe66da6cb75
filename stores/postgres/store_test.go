package pgstore_test

import (
	"database/sql"
	"net/url"
	"os"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
	"github.com/firstseen/firstseen/stores/internal/sqltest"
	pgstore "github.com/firstseen/firstseen/stores/postgres"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

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

func TestGuard(t *testing.T) { target.Guard(t) }

func TestOwn(t *testing.T) { target.Own(t) }

func TestInbox(t *testing.T) { target.Inbox(t) }
