package peers

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/dedup"
)

const (
	postgresTable  = `CREATE TABLE seen (k bytea PRIMARY KEY, seen_at timestamptz NOT NULL DEFAULT now())`
	postgresInsert = `INSERT INTO seen (k) SELECT unnest($1::bytea[]) ON CONFLICT DO NOTHING RETURNING k`
)

func postgresCandidate() bench.Candidate {
	return bench.Candidate{
		Name: "postgres", About: "PostgreSQL on loopback, default options, one INSERT … ON CONFLICT DO NOTHING RETURNING per call",
		Class: bench.Power, Modules: []string{"github.com/jackc/pgx/v5"},
		Open: openPostgres,
	}
}

// postgresTarget inserts a call's keys with one statement that returns the rows
// that went in.
type postgresTarget struct {
	server  *server
	pool    *pgxpool.Pool
	version string
}

func openPostgres(ctx context.Context, s bench.Setup) (bench.Target, error) {
	program, err := findProgram([]string{"postgres"}, "/usr/lib/postgresql/*/bin/postgres", "/usr/local/pgsql/bin/postgres")
	if err != nil {
		return nil, err
	}
	initdb, err := findProgram([]string{"initdb"}, filepath.Join(filepath.Dir(program), "initdb"))
	if err != nil {
		return nil, err
	}
	dir, err := dataDir(s.Dir, "postgres")
	if err != nil {
		return nil, err
	}
	if err := run(ctx, dir, initdb, "--pgdata="+dir, "--username=bench", "--auth=trust", "--encoding=UTF8", "--locale=C"); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=bench dbname=postgres sslmode=disable", port))
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(s.Callers + 1)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	srv, err := startServer(ctx, dir, pool.Ping, program, "-D", dir, "-p", strconv.Itoa(port), "-h", "127.0.0.1", "-k", "")
	if err != nil {
		pool.Close()
		return nil, err
	}
	t := &postgresTarget{server: srv, pool: pool}
	if _, err := pool.Exec(ctx, postgresTable); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	if err := pool.QueryRow(ctx, "SHOW server_version").Scan(&t.version); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Version says which PostgreSQL it is.
func (t *postgresTarget) Version() string { return "PostgreSQL " + t.version }

func (t *postgresTarget) Admit(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	rows, err := t.pool.Query(ctx, postgresInsert, distinct(keys))
	if err != nil {
		return vs, err
	}
	inserted := make(map[string]struct{}, len(keys))
	var key []byte
	if _, err := pgx.ForEachRow(rows, []any{&key}, func() error {
		inserted[string(key)] = struct{}{}
		return nil
	}); err != nil {
		return vs, err
	}
	return answer(vs, keys, inserted), nil
}

func (t *postgresTarget) Usage() bench.Usage { return bench.Usage{Process: t.server.memory()} }

func (t *postgresTarget) Close() error {
	t.pool.Close()
	return t.server.stop()
}
