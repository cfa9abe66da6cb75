package testguards

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/dedup"
)

// Inbox returns base with a table of the database as its memory and an effect that
// is a row of the same database, written in one transaction with the mark: exactly
// once, whatever is killed. Two processes consume.
func Inbox(base adaptertest.Config, d *Database) adaptertest.Config {
	c := With(base, Memory{Name: d.kind, Addr: sharedAddr(d.kind, d.variable), OpenAt: d.openInbox})
	c.Name = base.Name + "-inbox"
	c.Effect, c.Effects, c.Processes = effect, d.effects, 2
	return c
}

// An inbox is what a process has open for one directory.
type inbox struct {
	d     *Database
	db    *sql.DB
	store table
	rows  string // the name of the table of effects
}

var inboxes sync.Map // of directories, to *inbox

func (d *Database) openInbox(addr, dir string, lease time.Duration) (dedup.Guard, func() error, error) {
	db, store, closeAll, err := d.open(addr, dir, lease)
	if err != nil {
		return nil, nil, err
	}
	in := &inbox{d: d, db: db, store: store, rows: effectsOf(dir)}
	if err := in.create(context.Background()); err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	inboxes.Store(dir, in)
	return store, func() error {
		inboxes.Delete(dir)
		return closeAll()
	}, nil
}

func effectsOf(dir string) string { return nameOf(dir) + "_effects" }

// create makes the table of the effects. No key is unique: a second effect shows.
func (in *inbox) create(ctx context.Context) error {
	return in.inTx(ctx, func(tx *sql.Tx) error {
		for _, statement := range in.d.create {
			if _, err := tx.ExecContext(ctx, strings.ReplaceAll(statement, "EFFECTS", in.rows)); err != nil {
				return err
			}
		}
		return nil
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

// effect writes a key's row and commits the claim under which the handler runs, both
// or neither.
func effect(ctx context.Context, dir, key string) error {
	v, ok := inboxes.Load(dir)
	if !ok {
		return fmt.Errorf("testguards: no inbox is open in %s", dir)
	}
	in, work := v.(*inbox), consume.WorkFrom(ctx)
	err := in.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s (message) VALUES (%s)", in.rows, in.d.parameter), key); err != nil {
			return err
		}
		return in.store.CommitTx(ctx, tx, work.Claim())
	})
	if err == nil {
		work.SetCommitted()
	}
	return err
}

// effects counts the rows of each key.
func (d *Database) effects(t testing.TB, dir string) map[string]int {
	t.Helper()
	db, err := sql.Open(d.driver, d.dsn(os.Getenv(envOf(d.kind))))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, in := context.Background(), &inbox{d: d, db: db, rows: effectsOf(dir)}
	if err := in.create(ctx); err != nil { // the first child may not have done it yet
		t.Fatal(err)
	}
	rows, err := db.QueryContext(ctx, "SELECT message, count(*) FROM "+in.rows+" GROUP BY message")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	counts := map[string]int{}
	for rows.Next() {
		var key string
		var n int
		if err := rows.Scan(&key, &n); err != nil {
			t.Fatal(err)
		}
		counts[key] = n
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return counts
}
