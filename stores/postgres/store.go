package pgstore

import (
	"database/sql"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

// Options configure a store. Window is required.
type Options = sqlstore.Options

// Stats counts what a store has done.
type Stats = sqlstore.Stats

// A Store is a dedup.Guard in a PostgreSQL table. Besides the methods of Guard it
// has Contains, Forget, Stats, Ping, Migrate, Sweep and Close, and AdmitTx and
// CommitTx for marks in the caller's own transaction.
type Store struct{ *sqlstore.Store }

var _ dedup.Guard = Store{}

// New makes a store. It doesn't talk to the database; see Migrate and Ping.
func New(db *sql.DB, o Options) (*Store, error) {
	s, err := sqlstore.New("pgstore", db, o, func(o Options) (sqlstore.Dialect, error) { return newDialect(o.Table), nil })
	if err != nil {
		return nil, err
	}
	return &Store{s}, nil
}
