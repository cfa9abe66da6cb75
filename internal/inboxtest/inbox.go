// Package inboxtest has the storm of an adapter make its effects in PostgreSQL, each
// in one transaction with its mark. Then every effect has to happen exactly once,
// whatever is killed.
package inboxtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
	pgstore "github.com/firstseen/firstseen/stores/postgres"
)

// urlEnv tells child processes where the database is.
const urlEnv = "FIRSTSEEN_INBOXTEST_URL"

// With returns c with "-inbox" behind its name, a store in the PostgreSQL that the
// package's tests share, and two processes that consume.
func With(c adaptertest.Config) adaptertest.Config {
	c.Name += "-inbox"
	c.Guard, c.Effect, c.Effects, c.Processes = open, effect, effects, 2
	newTopic := c.NewTopic
	c.NewTopic = func(t testing.TB) string {
		t.Helper()
		if err := os.Setenv(urlEnv, servertest.Shared(t, servertest.Postgres).Env("POSTGRES_URL")); err != nil {
			t.Fatal(err)
		}
		return newTopic(t)
	}
	return c
}

// An inbox is the store of one case with its effects.
type inbox struct {
	db    *sql.DB
	store *pgstore.Store
	table string // of the effects
}

// opened is the one that this child process has; set by open, before any effect.
var opened *inbox

func open(dir string, lease time.Duration) (dedup.Guard, func() error, error) {
	ctx := context.Background()
	db, err := connect()
	if err != nil {
		return nil, nil, err
	}
	name := nameOf(dir)
	store, err := pgstore.New(db, pgstore.Options{Window: time.Hour, Lease: lease, Table: "marks_" + name})
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	opened = &inbox{db: db, store: store, table: "effects_" + name}
	closeAll := func() error { return errors.Join(store.Close(), db.Close()) }
	if err := errors.Join(store.Migrate(ctx), opened.create(ctx)); err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	return store, closeAll, nil
}

func connect() (*sql.DB, error) { return sql.Open("pgx", os.Getenv(urlEnv)) }

// nameOf makes a name for tables of a directory's.
func nameOf(dir string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(dir))) }

// create makes the table of effects. No unique key would hide a second effect. The
// lock is for the other process that does the same.
func (in *inbox) create(ctx context.Context) error {
	return in.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(1)")
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+in.table+" (key text NOT NULL)")
		return err
	})
}

func (in *inbox) inTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := in.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// effect writes a row and the mark, both or neither.
func effect(ctx context.Context, _, key string) error {
	work := consume.WorkFrom(ctx)
	err := opened.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+opened.table+" VALUES ($1)", key); err != nil {
			return err
		}
		return opened.store.CommitTx(ctx, tx, work.Claim())
	})
	if err == nil {
		work.SetCommitted()
	}
	return err
}

// effects counts the rows of each key.
func effects(t testing.TB, dir string) map[string]int {
	t.Helper()
	db, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	table := "effects_" + nameOf(dir)
	var there bool
	if err := db.QueryRowContext(t.Context(), "SELECT to_regclass($1) IS NOT NULL", table).Scan(&there); err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	if !there {
		return all
	}
	rows, err := db.QueryContext(t.Context(), "SELECT key, count(*) FROM "+table+" GROUP BY key")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var n int
		if err := rows.Scan(&key, &n); err != nil {
			t.Fatal(err)
		}
		all[key] = n
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
