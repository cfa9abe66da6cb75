package testguards

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
	mysqlstore "github.com/firstseen/firstseen/stores/mysql"
)

var ctx = context.Background()

// Each returns base once for each memory, by the names base.Name-engine and so on.
func Each(base adaptertest.Config) []adaptertest.Config {
	var all []adaptertest.Config
	for _, m := range Memories() {
		all = append(all, With(base, m))
	}
	return all
}

// With returns base with another memory.
func With(base adaptertest.Config, m Memory) adaptertest.Config {
	c := base
	c.Name, c.Guard = base.Name+"-"+m.Name, m.Open
	c.NewTopic = func(t testing.TB) string {
		t.Helper()
		if m.Addr != nil {
			m.Addr(t)
		}
		return base.NewTopic(t)
	}
	return c
}

// Inbox returns base with MariaDB as its memory and an effect that is a row of the
// same database, written in one transaction with the mark: exactly once, whatever
// is killed.
func Inbox(base adaptertest.Config) adaptertest.Config {
	c := With(base, Memory{Name: servertest.MariaDB, Addr: sharedAddr(servertest.MariaDB, "MARIADB_ADDR"), OpenAt: openInbox})
	c.Name = base.Name + "-inbox"
	c.Effect, c.Effects = effect, effects
	return c
}

// An inbox is what a process has open for one directory.
type inbox struct {
	db    *sql.DB
	store *mysqlstore.Store
	table string // of the effects
}

var inboxes sync.Map // of directories, to *inbox

func openInbox(addr, dir string, lease time.Duration) (dedup.Guard, func() error, error) {
	db, s, err := openTable(addr, dir, lease)
	if err != nil {
		return nil, nil, err
	}
	in := &inbox{db: db, store: s, table: nameOf(dir) + "_effects"}
	if err := in.create(); err != nil {
		return nil, nil, errors.Join(err, s.Close(), db.Close())
	}
	inboxes.Store(dir, in)
	return s, func() error {
		inboxes.Delete(dir)
		return errors.Join(s.Close(), db.Close())
	}, nil
}

// create makes the table of the effects. No key is unique: a second effect shows.
func (in *inbox) create() error {
	_, err := in.db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+in.table+
		" (id bigint AUTO_INCREMENT PRIMARY KEY, message varbinary(255) NOT NULL) ENGINE=InnoDB")
	return err
}

// effect writes a key's row and commits the claim under which the handler runs.
func effect(ctx context.Context, dir, key string) error {
	v, ok := inboxes.Load(dir)
	if !ok {
		return fmt.Errorf("testguards: no inbox is open in %s", dir)
	}
	in, work := v.(*inbox), consume.WorkFrom(ctx)
	tx, err := in.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	if _, err := tx.ExecContext(ctx, "INSERT INTO "+in.table+" (message) VALUES (?)", key); err != nil {
		return err
	}
	if err := in.store.CommitTx(ctx, tx, work.Claim()); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	work.SetCommitted()
	return nil
}

func effects(t testing.TB, dir string) map[string]int {
	db, err := sql.Open("mysql", DSN(os.Getenv(envOf(servertest.MariaDB))))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	in := &inbox{db: db, table: nameOf(dir) + "_effects"}
	if err := in.create(); err != nil { // the first child may not have done it yet
		t.Fatal(err)
	}
	rows, err := db.QueryContext(ctx, "SELECT message, count(*) FROM "+in.table+" GROUP BY message")
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
