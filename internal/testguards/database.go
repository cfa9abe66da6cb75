package testguards

import (
	"context"
	"database/sql"
	"errors"
	"time"

	_ "github.com/go-sql-driver/mysql" // MariaDB
	_ "github.com/jackc/pgx/v5/stdlib" // PostgreSQL

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
	mysqlstore "github.com/firstseen/firstseen/stores/mysql"
	pgstore "github.com/firstseen/firstseen/stores/postgres"
)

// A Database is what a guard in a SQL table needs to know of its server.
type Database struct {
	kind      string // of servertest
	variable  string // of servertest's environment, with the address
	driver    string
	dsn       func(addr string) string
	newStore  func(db *sql.DB, name string, lease time.Duration) (table, error)
	create    []string // the table EFFECTS, whether it is there or not
	parameter string   // of a statement, the first
}

// A table is a store in one.
type table interface {
	dedup.Guard
	Migrate(context.Context) error
	CommitTx(ctx context.Context, tx *sql.Tx, claims ...dedup.Claim) error
	Close() error
}

// MariaDB and Postgres are the databases that an Inbox may be in.
var (
	MariaDB = &Database{
		kind: servertest.MariaDB, variable: "MARIADB_ADDR", driver: "mysql", dsn: DSN, parameter: "?",
		newStore: func(db *sql.DB, name string, lease time.Duration) (table, error) {
			return mysqlstore.New(db, mysqlstore.Options{Window: Window, Lease: lease, Table: name})
		},
		create: []string{
			"CREATE TABLE IF NOT EXISTS EFFECTS (id bigint AUTO_INCREMENT PRIMARY KEY, message varbinary(255) NOT NULL) ENGINE=InnoDB",
		},
	}
	Postgres = &Database{
		kind: servertest.Postgres, variable: "POSTGRES_URL", driver: "pgx", dsn: func(url string) string { return url }, parameter: "$1",
		newStore: func(db *sql.DB, name string, lease time.Duration) (table, error) {
			return pgstore.New(db, pgstore.Options{Window: Window, Lease: lease, Table: name})
		},
		// Of two processes that create a table at once one fails, IF NOT EXISTS or not.
		create: []string{"SELECT pg_advisory_xact_lock(1)", "CREATE TABLE IF NOT EXISTS EFFECTS (message text NOT NULL)"},
	}
)

// DSN is the data source name of a MariaDB server's test database.
func DSN(addr string) string { return "firstseen:firstseen@tcp(" + addr + ")/firstseen" }

// open opens the table that belongs to dir, at the address of a server.
func (d *Database) open(addr, dir string, lease time.Duration) (*sql.DB, table, func() error, error) {
	db, err := sql.Open(d.driver, d.dsn(addr))
	if err != nil {
		return nil, nil, nil, err
	}
	db.SetMaxIdleConns(16)
	s, err := d.newStore(db, nameOf(dir), lease)
	if err != nil {
		return nil, nil, nil, errors.Join(err, db.Close())
	}
	closeAll := func() error { return errors.Join(s.Close(), db.Close()) }
	if err := s.Migrate(context.Background()); err != nil {
		return nil, nil, nil, errors.Join(err, closeAll())
	}
	return db, s, closeAll, nil
}
