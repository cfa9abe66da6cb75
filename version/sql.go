package version

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
)

// A Dialect is a kind of database.
type Dialect uint8

// The databases that a Table works with.
const (
	PostgreSQL Dialect = iota + 1
	MySQL              // and MariaDB
)

// A Tx runs statements. *sql.Tx is meant; with *sql.DB or *sql.Conn the version is
// recorded by itself, and not together with the effect.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// A Table keeps versions in a table of the caller's database, so that an update
// and its version are committed in one transaction: neither is ever there without
// the other. It may be used by any number of goroutines at once.
type Table struct {
	schema, observe, first, next, current string
	dialect                               Dialect
	strict                                bool
}

// NewTable returns a Table by the name of name: letters, digits, underscores and
// dots. strict is as in Options.
func NewTable(d Dialect, name string, strict bool) (*Table, error) {
	for _, r := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.", r) {
			return nil, fmt.Errorf("version: table name %q has more than letters, digits, underscores and dots", name)
		}
	}
	if name == "" {
		return nil, errors.New("version: a table needs a name")
	}
	t := &Table{dialect: d, strict: strict}
	switch d {
	case PostgreSQL:
		t.schema = "CREATE TABLE IF NOT EXISTS %s (entity bytea PRIMARY KEY, version bigint NOT NULL)"
		t.observe = "INSERT INTO %s AS v (entity, version) VALUES ($1, $2) " +
			"ON CONFLICT (entity) DO UPDATE SET version = EXCLUDED.version WHERE v.version < EXCLUDED.version"
		t.first = "INSERT INTO %s (entity, version) VALUES ($1, $2) ON CONFLICT (entity) DO NOTHING"
		t.next = "UPDATE %s SET version = $2 WHERE entity = $1 AND version = $2 - 1"
		t.current = "SELECT version FROM %s WHERE entity = $1"
	case MySQL:
		t.schema = "CREATE TABLE IF NOT EXISTS %s (entity varbinary(256) PRIMARY KEY, version bigint NOT NULL)"
		// LAST_INSERT_ID carries the current version out of a stale update, whatever
		// the connection counts as an affected row.
		t.observe = "INSERT INTO %s (entity, version) VALUES (?, ?) ON DUPLICATE KEY UPDATE " +
			"version = IF(version < VALUES(version), VALUES(version), version + 0 * LAST_INSERT_ID(version))"
		// INSERT IGNORE would lock a row that exists for reading only, and two of
		// them would then wait for each other.
		t.first = "INSERT INTO %s (entity, version) VALUES (?, ?) ON DUPLICATE KEY UPDATE " +
			"version = version + 0 * LAST_INSERT_ID(version)"
		t.next = "UPDATE %s SET version = ? WHERE entity = ? AND version = ? - 1"
		t.current = "SELECT version FROM %s WHERE entity = ? FOR UPDATE" // not what the transaction began with
	default:
		return nil, fmt.Errorf("version: dialect %d is neither PostgreSQL nor MySQL", d)
	}
	for _, s := range []*string{&t.schema, &t.observe, &t.first, &t.next, &t.current} {
		*s = fmt.Sprintf(*s, name)
	}
	return t, nil
}

// Schema returns the statement that makes the table. The column entity holds the
// key that the package's documentation describes.
func (t *Table) Schema() string { return t.schema }

// Observe asks for one update inside tx, as Store.Observe does; it writes the
// version, and the caller then writes the effect where the verdict is Apply. It
// takes one statement, and one more for a verdict of strict mode or, in
// PostgreSQL, of Stale.
//
// Concurrent transactions with one entity wait for each other. At READ COMMITTED
// (PostgreSQL) and REPEATABLE READ (MySQL), which are the defaults, the later one
// gets its answer then. At stricter levels, and where transactions with several
// entities meet, the database may end one with its own error for a conflict or a
// deadlock; such a transaction has to be tried again.
//
// Errors: dedup.ErrKeyInvalid, ErrVersion, those of the database. The transaction
// has to be rolled back then.
func (t *Table) Observe(ctx context.Context, tx Tx, entity []byte, version uint64) (Answer, error) {
	u := Update{entity, version}
	if err := u.check(0); err != nil {
		return Answer{}, err
	}
	if version > math.MaxInt64 {
		return Answer{}, fmt.Errorf("%w: %d is above 2^63-1", ErrVersion, version)
	}
	a, err := t.ask(ctx, tx, appendKey(nil, entity), int64(version))
	if err != nil {
		return Answer{}, fmt.Errorf("version: observing in a transaction: %w", err)
	}
	return a, nil
}

func (t *Table) ask(ctx context.Context, tx Tx, key []byte, version int64) (Answer, error) {
	query, args := t.observe, []any{key, version}
	switch {
	case t.strict && version == 1:
		query = t.first
	case t.strict && t.dialect == MySQL:
		query, args = t.next, []any{version, key, version}
	case t.strict:
		query = t.next
	}
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return Answer{}, err
	}
	if t.dialect == MySQL && query != t.next {
		current, err := res.LastInsertId()
		if err != nil || current > 0 {
			return Answer{Stale, uint64(current)}, err
		}
		return Answer{Apply, uint64(version)}, nil
	}
	n, err := res.RowsAffected()
	if err != nil || n > 0 {
		return Answer{Apply, uint64(version)}, err
	}
	var current int64
	err = tx.QueryRowContext(ctx, t.current, key).Scan(&current)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Answer{}, err
	}
	switch {
	case version <= current:
		return Answer{Stale, uint64(current)}, nil
	case t.strict:
		return Answer{Gap, uint64(current)}, nil
	}
	return Answer{}, fmt.Errorf("the entity is at %d, and was not set to %d", current, version)
}
