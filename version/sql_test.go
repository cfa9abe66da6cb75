package version_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/version"
)

// eachDatabase runs f on real servers. MySQL's driver can count affected rows in
// two ways.
func eachDatabase(t *testing.T, f func(t *testing.T, d version.Dialect, db *sql.DB)) {
	run := func(name string, d version.Dialect, driver string, url func(t *testing.T) string) {
		t.Run(name, func(t *testing.T) {
			db, err := sql.Open(driver, url(t))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			db.SetMaxOpenConns(16)
			f(t, d, db)
		})
	}
	run("postgres", version.PostgreSQL, "pgx", func(t *testing.T) string {
		return servertest.Shared(t, servertest.Postgres).Env("POSTGRES_URL")
	})
	t.Run("mariadb", func(t *testing.T) {
		addr := servertest.Shared(t, servertest.MariaDB).Env("MARIADB_ADDR")
		for _, found := range []string{"false", "true"} {
			run("clientFoundRows="+found, version.MySQL, "mysql", func(*testing.T) string {
				return fmt.Sprintf("firstseen:firstseen@tcp(%s)/firstseen?clientFoundRows=%s", addr, found)
			})
		}
	})
}

func table(t *testing.T, d version.Dialect, db *sql.DB, name string, strict bool) *version.Table {
	t.Helper()
	tab, err := version.NewTable(d, name, strict)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("DROP TABLE IF EXISTS " + name); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := db.Exec(tab.Schema()); err != nil {
			t.Fatal(err)
		}
	}
	return tab
}

func TestTable(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d version.Dialect, db *sql.DB) {
		loose, strict := table(t, d, db, "versions_any", false), table(t, d, db, "versions_strict", true)
		f := func(tab *version.Table, entity string, v uint64, want version.Verdict, current uint64) {
			t.Helper()
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			a, err := tab.Observe(t.Context(), tx, []byte(entity), v)
			if err = errors.Join(err, tx.Commit()); err != nil || a != (version.Answer{Verdict: want, Current: current}) {
				t.Errorf("%.10s at %d: %+v, %v, want %v, %d", entity, v, a, err, want, current)
			}
		}
		long := strings.Repeat("\x00", 1000)
		f(loose, "a", 3, version.Apply, 3)
		f(loose, "a", 3, version.Stale, 3)
		f(loose, "a", 1, version.Stale, 3)
		f(loose, "a", 7, version.Apply, 7)
		f(loose, "A", 1, version.Apply, 1)
		f(loose, long, 1<<63-1, version.Apply, 1<<63-1)
		f(loose, long, 5, version.Stale, 1<<63-1)
		f(loose, long[1:], 5, version.Apply, 5)
		f(strict, "a", 2, version.Gap, 0)
		f(strict, "a", 1, version.Apply, 1)
		f(strict, "a", 1, version.Stale, 1)
		f(strict, "a", 3, version.Gap, 1)
		f(strict, "a", 2, version.Apply, 2)
		f(strict, "a", 1, version.Stale, 2)
		for _, v := range []uint64{0, 1 << 63} {
			if a, err := loose.Observe(t.Context(), db, []byte("a"), v); !errors.Is(err, version.ErrVersion) || a != (version.Answer{}) {
				t.Errorf("version %d: %+v, %v", v, a, err)
			}
		}
		if _, err := loose.Observe(t.Context(), db, nil, 1); !errors.Is(err, dedup.ErrKeyInvalid) {
			t.Error(err)
		}
	})
}

// TestTableRollback: a version is never recorded without its effect.
func TestTableRollback(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d version.Dialect, db *sql.DB) {
		tab := table(t, d, db, "versions_rollback", false)
		for _, end := range []func(*sql.Tx) error{(*sql.Tx).Rollback, (*sql.Tx).Commit} {
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			a, err := tab.Observe(t.Context(), tx, []byte("a"), 1)
			if err = errors.Join(err, end(tx)); err != nil || a.Verdict != version.Apply {
				t.Errorf("%+v, %v", a, err)
			}
		}
	})
}

// TestTableTogether: concurrent transactions with one entity. One applies each
// version, and the last one stays.
func TestTableTogether(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d version.Dialect, db *sql.DB) {
		for _, strict := range []bool{false, true} {
			tab := table(t, d, db, "versions_together", strict)
			const callers, versions = 8, 20
			var applied [versions + 1]atomic.Int32
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for v := uint64(1); v <= versions; v++ {
						tx, err := db.Begin()
						if err != nil {
							t.Error(err)
							return
						}
						a, err := tab.Observe(t.Context(), tx, []byte("a"), v)
						if err = errors.Join(err, tx.Commit()); err != nil || a.Current < v {
							t.Errorf("%d: %+v, %v", v, a, err)
							return
						}
						if a.Verdict == version.Apply {
							applied[v].Add(1)
						}
					}
				})
			}
			wg.Wait()
			for v := 1; v <= versions; v++ {
				if n := applied[v].Load(); n > 1 || n == 0 && (strict || v == versions) {
					t.Errorf("strict %v: version %d was applied %d times", strict, v, n)
				}
			}
		}
	})
}

func TestNewTable(t *testing.T) {
	for _, name := range []string{"", "a;b", "a b", `a"b`, "a`b"} {
		if _, err := version.NewTable(version.MySQL, name, false); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
	if _, err := version.NewTable(0, "a", false); err == nil {
		t.Error("dialect 0 is taken")
	}
}

// The version and the new price are committed together.
func ExampleTable_Observe() {
	prices := func(ctx context.Context, db *sql.DB, versions *version.Table, sku string, v uint64, cents int) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
		a, err := versions.Observe(ctx, tx, []byte(sku), v)
		if err != nil || a.Verdict != version.Apply {
			return err // a stale update is acknowledged
		}
		if _, err := tx.ExecContext(ctx, "UPDATE price SET cents = $2 WHERE sku = $1", sku, cents); err != nil {
			return err
		}
		return tx.Commit()
	}
	_ = prices
	versions, err := version.NewTable(version.PostgreSQL, "price_version", false)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	fmt.Println(versions.Schema())
	// Output: CREATE TABLE IF NOT EXISTS price_version (entity bytea PRIMARY KEY, version bigint NOT NULL)
}
