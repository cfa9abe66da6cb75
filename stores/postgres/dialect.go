package pgstore

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/sqlretry"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

// maxItems keeps a statement's arrays below a few megabytes.
const maxItems = 10_000

type dialect struct {
	table, claim, commit, release, extend, contains, forget, sweep string

	schema sqlstore.Schema
}

func newDialect(table string) *dialect {
	f := fill(table)
	create := make([]string, len(createStatements))
	for i, s := range createStatements {
		create[i] = f(s)
	}
	return &dialect{
		table: table,
		claim: f(claimStatement), commit: f(commitStatement), release: f(releaseStatement), extend: f(extendStatement),
		contains: f(containsStatement), forget: f(forgetStatement), sweep: f(sweepStatement),
		schema: sqlstore.Schema{
			Steps:    [][]string{create},
			Versions: f(`CREATE TABLE IF NOT EXISTS {versions} (table_name text PRIMARY KEY, version int4 NOT NULL)`),
			Get:      f(`SELECT version FROM {versions} WHERE table_name = $1`),
			Set: f(`INSERT INTO {versions} (table_name, version) VALUES ($1, $2)
				ON CONFLICT (table_name) DO UPDATE SET version = excluded.version`),
			Missing: func(err error) bool { return sqlretry.HasState(err, "42P01") },
		},
	}
}

// Key implements sqlstore.Dialect.
func (d *dialect) Key(key []byte) (string, error) { return sqlstore.EncodeKey(key), nil }

// MaxItems implements sqlstore.Dialect.
func (d *dialect) MaxItems() int { return maxItems }

// Claim implements sqlstore.Dialect with one statement.
func (d *dialect) Claim(ctx context.Context, q sqlstore.Querier, r sqlstore.Request, items []*sqlstore.Item) error {
	keys, at := make(byteaArray, len(items)), make(intArray, len(items))
	states, results := make(intArray, len(items)), make(byteaArray, len(items))
	for i, it := range items {
		keys[i], at[i], states[i], results[i] = []byte(it.Key), it.At, it.State, resultOf(it)
	}
	valid, end := r.Lease, r.Lease+r.Window
	if r.Mark {
		valid, end = r.Window, r.Window
	}
	byPosition := index(items)
	rows, err := q.QueryContext(ctx, d.claim, keys, at, r.Nonce[:], states, results, valid.Microseconds(), end.Microseconds())
	return sqlstore.Collect(rows, err, func(rows *sql.Rows) error {
		var i, state int
		var won, result []byte
		var left int64
		if err := rows.Scan(&i, &won, &state, &left, &result); err != nil {
			return err
		}
		if i < 0 {
			return each(won, byPosition, func(it *sqlstore.Item) {
				it.Answer = sqlstore.Answer{Verdict: dedup.Fresh, Left: valid}
			})
		}
		a := sqlstore.Answer{Verdict: dedup.Duplicate, State: state, Result: result, Left: time.Duration(left) * time.Microsecond}
		if state == sqlstore.Claimed {
			a.Verdict = dedup.InFlight
		}
		byPosition[i].Answer = a
		return nil
	})
}

// index lists items by their position in the call.
func index(items []*sqlstore.Item) []*sqlstore.Item {
	last := 0
	for _, it := range items {
		last = max(last, it.At)
	}
	list := make([]*sqlstore.Item, last+1)
	for _, it := range items {
		list[it.At] = it
	}
	return list
}

// resultOf is what stands in the column: an empty result is no result.
func resultOf(it *sqlstore.Item) []byte {
	if len(it.Result) == 0 {
		return nil
	}
	return it.Result
}

// each calls f for the items whose positions were aggregated, four bytes each.
func each(positions []byte, items []*sqlstore.Item, f func(*sqlstore.Item)) error {
	for ; len(positions) >= 4; positions = positions[4:] {
		i := int(binary.BigEndian.Uint32(positions))
		if i >= len(items) || items[i] == nil {
			return fmt.Errorf("the database answered for key %d, which was not in the statement", i)
		}
		f(items[i])
	}
	return nil
}

// Commit implements sqlstore.Dialect with one statement.
func (d *dialect) Commit(ctx context.Context, q sqlstore.Querier, r sqlstore.Request, items []*sqlstore.Item) error {
	keys, tokens := keysAndTokens(items)
	states, results := make(intArray, len(items)), make(byteaArray, len(items))
	for i, it := range items {
		states[i], results[i] = it.State, resultOf(it)
	}
	mark := r.Nonce.Mark()
	rows, err := q.QueryContext(ctx, d.commit, keys, tokens, states, results, mark[:], r.Window.Microseconds())
	return held(rows, err, items)
}

// Release implements sqlstore.Dialect with one statement.
func (d *dialect) Release(ctx context.Context, q sqlstore.Querier, _ sqlstore.Request, items []*sqlstore.Item) error {
	keys, tokens := keysAndTokens(items)
	rows, err := q.QueryContext(ctx, d.release, keys, tokens)
	return held(rows, err, items)
}

func keysAndTokens(items []*sqlstore.Item) (keys, tokens byteaArray) {
	keys, tokens = make(byteaArray, len(items)), make(byteaArray, len(items))
	for i, it := range items {
		keys[i], tokens[i] = []byte(it.Key), it.Token[:]
	}
	return keys, tokens
}

// held reads the positions of the claims that a statement has ended.
func held(rows *sql.Rows, err error, items []*sqlstore.Item) error {
	return sqlstore.Collect(rows, err, func(rows *sql.Rows) error {
		var positions []byte
		if err := rows.Scan(&positions); err != nil {
			return err
		}
		return each(positions, items, func(it *sqlstore.Item) { it.Answer.Held = true })
	})
}

// Extend implements sqlstore.Dialect.
func (d *dialect) Extend(ctx context.Context, q sqlstore.Querier, r sqlstore.Request, it *sqlstore.Item) error {
	res, err := q.ExecContext(ctx, d.extend, []byte(it.Key), it.Token[:], r.Lease.Microseconds(), (r.Lease + r.Window).Microseconds())
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	it.Answer.Held = n > 0
	return err
}

// Contains implements sqlstore.Dialect.
func (d *dialect) Contains(ctx context.Context, q sqlstore.Querier, key string) (found bool, err error) {
	rows, err := q.QueryContext(ctx, d.contains, []byte(key))
	err = sqlstore.Collect(rows, err, func(*sql.Rows) error { found = true; return nil })
	return found, err
}

// Forget implements sqlstore.Dialect.
func (d *dialect) Forget(ctx context.Context, q sqlstore.Querier, key string) error {
	_, err := q.ExecContext(ctx, d.forget, []byte(key))
	return err
}

// Sweep implements sqlstore.Dialect. Rows that are locked are left for the next
// sweep.
func (d *dialect) Sweep(ctx context.Context, q sqlstore.Querier, from string, n int) (found, deleted int, next string, err error) {
	start := int64(0)
	if from != "" {
		if start, err = strconv.ParseInt(from, 10, 64); err != nil {
			return 0, 0, "", err
		}
	}
	rows, err := q.QueryContext(ctx, d.sweep, start, n)
	err = sqlstore.Collect(rows, err, func(rows *sql.Rows) error { return rows.Scan(&found, &deleted, &next) })
	return found, deleted, next, err
}

// Newest implements sqlstore.Dialect.
func (d *dialect) Newest() int { return len(d.schema.Steps) }

// Version implements sqlstore.Dialect.
func (d *dialect) Version(ctx context.Context, q sqlstore.Querier) (int, error) {
	return d.schema.Version(ctx, q, d.table)
}

// migrateLock is the advisory lock that processes hold while they migrate.
const migrateLock = 0x66697273747365

// Migrate implements sqlstore.Dialect, in one transaction.
func (d *dialect) Migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, migrateLock); err != nil {
		return err
	}
	if err := d.schema.Migrate(ctx, tx, d.table); err != nil {
		return err
	}
	return tx.Commit()
}

// Again implements sqlstore.Dialect: serialization failures and deadlocks.
func (d *dialect) Again(err error) bool { return sqlretry.PostgreSQL(err) }
