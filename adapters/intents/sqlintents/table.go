package sqlintents

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/internal/sqlretry"
)

// A Dialect is the SQL that a database speaks.
type Dialect uint8

const (
	// PostgreSQL from 12.
	PostgreSQL Dialect = iota + 1
	// MySQL from 8.0, and MariaDB from 10.5.
	MySQL
)

// A Table implements intents.Store.
type Table struct {
	db    *sql.DB
	q     *statements
	again func(error) bool
}

var _ intents.Store = (*Table)(nil)

// New returns intents in the table of db.
func New(db *sql.DB, d Dialect) (*Table, error) {
	switch d {
	case PostgreSQL:
		return &Table{db: db, q: &postgres, again: sqlretry.PostgreSQL}, nil
	case MySQL:
		return &Table{db: db, q: &mysql, again: sqlretry.MySQL}, nil
	}
	return nil, fmt.Errorf("sqlintents: dialect %d, it must be PostgreSQL or MySQL", d)
}

// Migrate makes the table where it is not there yet.
func (i *Table) Migrate(ctx context.Context) error {
	if _, err := i.db.ExecContext(ctx, i.q.create); err != nil {
		return fmt.Errorf("sqlintents: making the table: %w", err)
	}
	return nil
}

// Begin implements intents.Store.
func (i *Table) Begin(ctx context.Context, in intents.Intent) (intents.Intent, error) {
	for {
		n, err := i.exec(ctx, i.q.begin, digest(in.Key), in.Key, in.Name, in.Begun.UnixMicro(), in.Fingerprint[:])
		if err != nil {
			return intents.Intent{}, fmt.Errorf("sqlintents: begin: %w", err)
		}
		if n > 0 {
			return in, nil
		}
		prior, err := scan(i.db.QueryRowContext(ctx, i.q.get, digest(in.Key)))
		if errors.Is(err, sql.ErrNoRows) {
			continue // it ended in between
		}
		if err != nil {
			return intents.Intent{}, fmt.Errorf("sqlintents: begin: %w", err)
		}
		return prior, intents.ErrInDoubt
	}
}

// End implements intents.Store.
func (i *Table) End(ctx context.Context, key []byte) error {
	if _, err := i.exec(ctx, i.q.end, digest(key)); err != nil {
		return fmt.Errorf("sqlintents: end: %w", err)
	}
	return nil
}

// Resolve implements intents.Store.
func (i *Table) Resolve(ctx context.Context, key []byte, o intents.Outcome) error {
	if err := intents.CheckOutcome(o); err != nil {
		return err
	}
	// MySQL counts rows that change, so a second Resolve with the same outcome
	// affects none: whether the row is there is asked for by itself.
	if _, err := i.exec(ctx, i.q.resolve, o.Kind, o.Status, o.ContentType, o.Body, digest(key)); err != nil {
		return fmt.Errorf("sqlintents: resolve: %w", err)
	}
	_, err := scan(i.db.QueryRowContext(ctx, i.q.get, digest(key)))
	if errors.Is(err, sql.ErrNoRows) {
		return intents.ErrNoIntent
	}
	if err != nil {
		return fmt.Errorf("sqlintents: resolve: %w", err)
	}
	return nil
}

// List implements intents.Store.
func (i *Table) List(ctx context.Context) (all []intents.Intent, err error) {
	rows, err := i.db.QueryContext(ctx, i.q.list)
	if err != nil {
		return nil, fmt.Errorf("sqlintents: list: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		in, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("sqlintents: list: %w", err)
		}
		all = append(all, in)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("sqlintents: list: %w", err)
	}
	return all, nil
}

func (i *Table) exec(ctx context.Context, statement string, args ...any) (n int64, err error) {
	err = sqlretry.Do(ctx, i.again, nil, func() error {
		res, err := i.db.ExecContext(ctx, statement, args...)
		if err == nil {
			n, err = res.RowsAffected()
		}
		return err
	})
	return n, err
}

// digest is the primary key: keys may be longer than an index takes.
func digest(key []byte) []byte {
	sum := sha256.Sum256(key)
	return sum[:]
}

func scan(row interface{ Scan(dest ...any) error }) (in intents.Intent, err error) {
	var begun int64
	var fingerprint, body []byte
	var contentType sql.NullString
	err = row.Scan(&in.Key, &in.Name, &begun, &fingerprint, &in.Outcome.Kind, &in.Outcome.Status, &contentType, &body)
	if err != nil {
		return intents.Intent{}, err
	}
	in.Begun = time.UnixMicro(begun)
	copy(in.Fingerprint[:], fingerprint)
	in.Outcome.ContentType = contentType.String
	if len(body) > 0 {
		in.Outcome.Body = body
	}
	return in, nil
}
