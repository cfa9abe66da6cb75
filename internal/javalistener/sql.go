package javalistener

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"
)

// A SQL is a Java consumer with JDBCPersist.
type SQL struct {
	testing.TB
	DB    *sql.DB
	Table string
	Clock time.Duration // how fast its clock runs
}

// Table is the table as the listener's documentation has users create it; %s is its
// name.
const Table = `CREATE TABLE %s (application_name varchar(255) NOT NULL, topic varchar(255) NOT NULL, tag varchar(16) NOT NULL,
	msg_uniq_key varchar(255) NOT NULL, status varchar(16) NOT NULL, expire_time bigint(20) NOT NULL,
	UNIQUE KEY uniq_key (application_name, topic, tag, msg_uniq_key) USING BTREE) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC`

const row = " WHERE application_name = ? AND topic = ? AND tag = ? AND msg_uniq_key = ?"

// Java's times in milliseconds.
const (
	lease  = 60_000
	window = 24 * 3600_000
)

func (j SQL) now() int64 { return time.Now().Add(j.Clock).UnixMilli() }

func (j SQL) run(query string, args ...any) (int64, error) {
	res, err := j.DB.ExecContext(context.Background(), strings.ReplaceAll(query, "{t}", j.Table), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// claim returns "" if the handler is to run, and the row's status otherwise.
func (j SQL) claim(app, topic, tag, key string) string {
	j.Helper()
	for {
		_, err := j.run("INSERT INTO {t}(application_name, topic, tag, msg_uniq_key, status, expire_time) values (?, ?, ?, ?, ?, ?)",
			app, topic, tag, key, "CONSUMING", j.now()+lease)
		if err == nil {
			return ""
		}
		if !strings.HasPrefix(err.Error(), "Error 1062") {
			j.Fatalf("Java's insert fails with %v: its handler would run", err)
		}
		n, err := j.run("DELETE FROM {t}"+row+" AND expire_time < ?", app, topic, tag, key, j.now())
		if err != nil {
			j.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	var status string
	err := j.DB.QueryRowContext(context.Background(), "SELECT status FROM "+j.Table+row+" AND expire_time > ?",
		app, topic, tag, key, j.now()).Scan(&status)
	if err != nil {
		j.Fatalf("Java's select fails with %v: its handler would run", err)
	}
	return status
}

// Want claims a message's key. want is "" if the handler is to run, and the status
// that Java finds otherwise.
func (j SQL) Want(want, app, topic, tag, key string) {
	j.Helper()
	if got := j.claim(app, topic, tag, key); got != want {
		j.Fatalf("Java finds %q, want %q", got, want)
	}
}

// Done marks a key.
func (j SQL) Done(app, topic, tag, key string) {
	j.Helper()
	if _, err := j.run("UPDATE {t} SET status = ?, expire_time = ?"+row, "CONSUMED", j.now()+window, app, topic, tag, key); err != nil {
		j.Fatal(err)
	}
}

// Failed deletes a key's row, whoever owns it.
func (j SQL) Failed(app, topic, tag, key string) {
	j.Helper()
	if _, err := j.run("DELETE FROM {t}"+row, app, topic, tag, key); err != nil {
		j.Fatal(err)
	}
}
