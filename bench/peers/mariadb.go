package peers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/dedup"
)

const mysqlTable = `CREATE TABLE seen (k VARBINARY(255) NOT NULL PRIMARY KEY, seen_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, call_no BIGINT NOT NULL)`

// mysqlRows bounds a statement: its placeholders are numbered with 16 bits.
const mysqlRows = 10_000

func mariadbCandidate() bench.Candidate {
	return bench.Candidate{
		Name: "mariadb", About: "MariaDB or MySQL on loopback, default options, one INSERT IGNORE per call, RETURNING where it is known",
		Class: bench.Power, Modules: []string{"github.com/go-sql-driver/mysql"},
		Open: func(ctx context.Context, s bench.Setup) (bench.Target, error) { return openMariaDB(ctx, s) },
	}
}

// mariadbTarget inserts a call's keys with one statement. MariaDB returns the
// rows that went in; MySQL can't, so there every row carries the number of its
// call and a second statement asks for those.
type mariadbTarget struct {
	server    *server
	db        *sql.DB
	returning bool
	version   string
	calls     chan int64 // the next call's number
}

func openMariaDB(ctx context.Context, s bench.Setup) (*mariadbTarget, error) {
	program, err := findProgram([]string{"mariadbd", "mysqld"}, "/usr/sbin/mariadbd", "/usr/sbin/mysqld")
	if err != nil {
		return nil, err
	}
	dir, err := dataDir(s.Dir, "mariadb")
	if err != nil {
		return nil, err
	}
	if err := initMariaDB(ctx, dir, program); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.InterpolateParams = "root", "tcp", address(port), true
	c.Logger = log.New(io.Discard, "", 0) // it complains until the server is up
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(s.Callers + 1)
	db.SetMaxIdleConns(s.Callers + 1)
	srv, err := startServer(ctx, dir, db.PingContext, program, "--no-defaults", "--datadir="+dir,
		"--port="+strconv.Itoa(port), "--bind-address=127.0.0.1", "--skip-grant-tables", "--skip-networking=0",
		"--socket="+filepath.Join(dir, "s"), "--pid-file="+filepath.Join(dir, "pid"), "--max-allowed-packet=64M")
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	t := &mariadbTarget{server: srv, db: db, calls: make(chan int64, 1)}
	t.calls <- 1
	if err := t.prepare(ctx, c, s.Callers); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// initMariaDB makes the system tables. MySQL's server does it itself.
func initMariaDB(ctx context.Context, dir, program string) error {
	for _, name := range []string{"mariadb-install-db", "mysql_install_db"} {
		if install, err := findProgram([]string{name}); err == nil && strings.Contains(program, "maria") {
			return run(ctx, dir, install, "--no-defaults", "--datadir="+dir, "--auth-root-authentication-method=normal", "--skip-test-db")
		}
	}
	return run(ctx, dir, program, "--no-defaults", "--initialize-insecure", "--datadir="+dir)
}

// prepare makes the table, in a database that the pool's later connections use.
func (t *mariadbTarget) prepare(ctx context.Context, c *mysql.Config, callers int) error {
	if _, err := t.db.ExecContext(ctx, "CREATE DATABASE bench"); err != nil {
		return err
	}
	if err := t.db.Close(); err != nil {
		return err
	}
	c.DBName = "bench"
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return err
	}
	t.db = sql.OpenDB(connector)
	t.db.SetMaxOpenConns(callers + 1)
	t.db.SetMaxIdleConns(callers + 1)
	if _, err := t.db.ExecContext(ctx, mysqlTable); err != nil {
		return err
	}
	if err := t.db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&t.version); err != nil {
		return err
	}
	t.returning = strings.Contains(t.version, "MariaDB")
	return nil
}

// Version says which server it is.
func (t *mariadbTarget) Version() string {
	if t.returning {
		return t.version
	}
	return "MySQL " + t.version
}

func (t *mariadbTarget) Admit(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	for len(keys) > 0 {
		n := min(len(keys), mysqlRows)
		inserted, err := t.insert(ctx, distinct(keys[:n]))
		if err != nil {
			return vs, err
		}
		vs = answer(vs, keys[:n], inserted)
		keys = keys[n:]
	}
	return vs, nil
}

func (t *mariadbTarget) insert(ctx context.Context, keys [][]byte) (map[string]struct{}, error) {
	call := <-t.calls
	t.calls <- call + 1
	var text strings.Builder
	text.WriteString("INSERT IGNORE INTO seen (k, call_no) VALUES ")
	args := make([]any, 0, 2*len(keys))
	for i, key := range keys {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString("(?,?)")
		args = append(args, key, call)
	}
	if t.returning {
		text.WriteString(" RETURNING k")
		return t.collect(ctx, text.String(), args, len(keys))
	}
	if _, err := t.db.ExecContext(ctx, text.String(), args...); err != nil {
		return nil, err
	}
	args = args[:0]
	for _, key := range keys {
		args = append(args, key)
	}
	query := fmt.Sprintf("SELECT k FROM seen WHERE call_no = %d AND k IN (?%s)", call, strings.Repeat(",?", len(keys)-1))
	return t.collect(ctx, query, args, len(keys))
}

func (t *mariadbTarget) collect(ctx context.Context, query string, args []any, n int) (map[string]struct{}, error) {
	rows, err := t.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	inserted := make(map[string]struct{}, n)
	var key sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		inserted[string(key)] = struct{}{}
	}
	return inserted, rows.Err()
}

func (t *mariadbTarget) Usage() bench.Usage { return bench.Usage{Process: t.server.memory()} }

func (t *mariadbTarget) Close() error {
	err := errors.Join(t.db.Close(), t.server.stop())
	_ = os.Remove(filepath.Join(t.server.cmd.Dir, "s"))
	return err
}
