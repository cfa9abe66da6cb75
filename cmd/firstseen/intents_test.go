package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/adapters/intents/sqlintents"
	"github.com/firstseen/firstseen/internal/servertest"
)

// TestIntentsFile: the list of a file is shown while its service runs; resolving
// waits for its end.
func TestIntentsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "intents")
	if r := firstseen(t, nil, "intents", "list", path); r.code != 1 {
		t.Errorf("a file that is not there: %+v", r)
	}
	f, err := intents.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	fillIntents(t, f)
	if r := firstseen(t, nil, "intents", "resolve", path, "POST /pay 1", "--never"); r.code != 1 || !strings.Contains(r.err, "in use") {
		t.Errorf("resolving while the service runs: %+v", r)
	}
	must(t, nil, "intents", "list", path)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	checkIntents(t, path)
}

// TestIntentsStore: the same in the tables of the SQL stores.
func TestIntentsStore(t *testing.T) {
	for _, kind := range []string{servertest.MariaDB, servertest.Postgres} {
		t.Run(kind, func(t *testing.T) {
			s := servertest.Start(t, kind)
			driver, dialect := "pgx", sqlintents.PostgreSQL
			var source, where string
			if kind == servertest.Postgres {
				source = s.Env("POSTGRES_URL")
				where = source
			} else {
				login := s.Env("MARIADB_USER") + ":" + s.Env("MARIADB_PASSWORD")
				driver, dialect = "mysql", sqlintents.MySQL
				source = fmt.Sprintf("%s@tcp(%s)/%s", login, s.Env("MARIADB_ADDR"), s.Env("MARIADB_DATABASE"))
				where = fmt.Sprintf("mysql://%s@%s/%s", login, s.Env("MARIADB_ADDR"), s.Env("MARIADB_DATABASE"))
			}
			db, err := sql.Open(driver, source)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			table, err := sqlintents.New(db, dialect)
			if err != nil {
				t.Fatal(err)
			}
			if err := table.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			fillIntents(t, table)
			checkIntents(t, where)
		})
	}
}

func fillIntents(t *testing.T, s intents.Store) {
	t.Helper()
	for n, name := range []string{"POST /pay 1", "POST /pay 2", "POST /pay twice", "POST /pay twice"} {
		in := intents.Intent{Key: fmt.Appendf(nil, "key %d", n), Name: name, Begun: time.Unix(1_700_000_000+int64(n), 0)}
		if _, err := s.Begin(context.Background(), in); err != nil {
			t.Fatal(err)
		}
	}
}

func checkIntents(t *testing.T, where string) {
	t.Helper()
	out := must(t, nil, "intents", "list", where)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 5 || !strings.Contains(lines[1], `2023-11-14T22:13:20Z  open     "POST /pay 1"`) {
		t.Errorf("list:\n%s", out)
	}
	if out := must(t, nil, "intents", "resolve", where, "POST /pay 1", "--happened", "--status", "201", "--content-type", "text/plain", "--body", "paid"); out != "settled\n" {
		t.Errorf("%q", out)
	}
	must(t, nil, "intents", "resolve", where, "6b65792033", "--never") // key 3
	var all []intents.Intent
	if err := json.Unmarshal([]byte(must(t, nil, "intents", "list", "--json", where)), &all); err != nil {
		t.Fatal(err)
	}
	if o := all[0].Outcome; o.Kind != intents.Happened || o.Status != 201 || o.ContentType != "text/plain" || string(o.Body) != "paid" {
		t.Errorf("settled: %+v", o)
	}
	if all[1].Outcome.Kind != intents.InDoubt || all[2].Outcome.Kind != intents.InDoubt || all[3].Outcome.Kind != intents.NeverHappened {
		t.Errorf("settled: %+v", all)
	}
	for _, bad := range []struct {
		code int
		args []string
	}{
		{1, []string{"POST /pay twice", "--never"}}, // two have this name
		{1, []string{"POST /pay none", "--never"}},
		{2, []string{"POST /pay 2"}},
		{2, []string{"POST /pay 2", "--never", "--happened"}},
		{2, []string{"POST /pay 2", "--never", "--status", "200"}},
		{2, []string{"POST /pay 2", "--happened", "--body", "x"}},
	} {
		if r := firstseen(t, nil, append([]string{"intents", "resolve", where}, bad.args...)...); r.code != bad.code {
			t.Errorf("resolve %q: %+v", bad.args, r)
		}
	}
}

// TestIntentsUsage: what is no store of intents is refused without its password.
func TestIntentsUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"show"}, {"list"}, {"list", "redis://u:secret@h/0"}, {"list", "postgres://u:secret@h:x y/"}} {
		if r := firstseen(t, nil, append([]string{"intents"}, args...)...); r.code != 2 || strings.Contains(r.err, "secret") {
			t.Errorf("%q: %+v", args, r)
		}
	}
}
