package mysqlstore_test

import (
	"database/sql"
	"os"
	"testing"

	_ "github.com/go-sql-driver/mysql"

	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
	"github.com/firstseen/firstseen/stores/internal/sqltest"
	mysqlstore "github.com/firstseen/firstseen/stores/mysql"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

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

func TestGuard(t *testing.T) { target.Guard(t) }

func TestOwn(t *testing.T) { target.Own(t) }

func TestInbox(t *testing.T) { target.Inbox(t) }
