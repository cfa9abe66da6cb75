package sqlintents_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/adapters/intents/sqlintents"
	"github.com/firstseen/firstseen/internal/servertest"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

func TestPostgreSQL(t *testing.T) {
	s := servertest.Shared(t, servertest.Postgres)
	check(t, "pgx", s.Env("POSTGRES_URL"), sqlintents.PostgreSQL)
}

func TestMariaDB(t *testing.T) {
	s := servertest.Shared(t, servertest.MariaDB)
	dsn := fmt.Sprintf("%s:%s@tcp(%s)/%s", s.Env("MARIADB_USER"), s.Env("MARIADB_PASSWORD"), s.Env("MARIADB_ADDR"), s.Env("MARIADB_DATABASE"))
	for _, params := range []string{"", "?clientFoundRows=true"} {
		t.Run(params, func(t *testing.T) { check(t, "mysql", dsn+params, sqlintents.MySQL) })
	}
}

func TestBadDialect(t *testing.T) {
	if _, err := sqlintents.New(nil, 0); err == nil {
		t.Error("the zero dialect is accepted")
	}
}

func check(t *testing.T, driver, dsn string, d sqlintents.Dialect) {
	ctx := context.Background()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	i, err := sqlintents.New(db, d)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second one changes nothing
		if err := i.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
	}
	in := intents.Intent{
		Key: append(bytes.Repeat([]byte("k"), 4000), 0, 0xff), Name: "POST /päy " + strings.Repeat("n", 4000),
		Begun: time.UnixMicro(1_700_000_000_123_456), Fingerprint: [16]byte{1, 0, 255},
	}
	if _, err := i.Begin(ctx, in); err != nil {
		t.Fatal(err)
	}
	prior, err := i.Begin(ctx, intents.Intent{Key: in.Key, Name: "another"})
	if !errors.Is(err, intents.ErrInDoubt) || !same(prior, in) {
		t.Errorf("%+v, %v", prior, err)
	}
	o := intents.Outcome{Kind: intents.Happened, Status: 201, ContentType: "text/plain", Body: []byte{0, 255}}
	for range 2 {
		if err := i.Resolve(ctx, in.Key, o); err != nil {
			t.Error(err)
		}
	}
	in.Outcome = o
	if all, err := i.List(ctx); err != nil || len(all) != 1 || !same(all[0], in) {
		t.Errorf("%+v, %v", all, err)
	}
	if err := i.Resolve(ctx, []byte("none"), o); !errors.Is(err, intents.ErrNoIntent) {
		t.Error(err)
	}
	for range 2 {
		if err := i.End(ctx, in.Key); err != nil {
			t.Error(err)
		}
	}
	oneWinner(t, i)
}

// oneWinner: of many that begin with one key one is told to run, also while it
// ends all the time.
func oneWinner(t *testing.T, i *sqlintents.Table) {
	ctx := context.Background()
	var running, ran atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				_, err := i.Begin(ctx, intents.Intent{Key: []byte("contended"), Begun: time.Now()})
				if errors.Is(err, intents.ErrInDoubt) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if running.Add(1) != 1 {
					t.Error("two run at once")
				}
				ran.Add(1)
				running.Add(-1)
				if err := i.End(ctx, []byte("contended")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if ran.Load() == 0 {
		t.Error("none ran")
	}
}

func same(a, b intents.Intent) bool {
	return bytes.Equal(a.Key, b.Key) && a.Name == b.Name && a.Begun.Equal(b.Begun) && a.Fingerprint == b.Fingerprint &&
		a.Outcome.Kind == b.Outcome.Kind && a.Outcome.Status == b.Outcome.Status &&
		a.Outcome.ContentType == b.Outcome.ContentType && bytes.Equal(a.Outcome.Body, b.Outcome.Body)
}
