package sqlintents

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/firstseen/firstseen/adapters/httpidem"
)

// A Dialect is the SQL that a database speaks.
type Dialect uint8

const (
	// PostgreSQL from 12.
	PostgreSQL Dialect = iota + 1
	// MySQL from 8.0, and MariaDB from 10.5.
	MySQL
)

// Intents implements httpidem.Intents.
type Intents struct {
	db *sql.DB
	q  *statements
}

var _ httpidem.Intents = (*Intents)(nil)

// New returns intents in the table of db.
func New(db *sql.DB, d Dialect) (*Intents, error) {
	switch d {
	case PostgreSQL:
		return &Intents{db: db, q: &postgres}, nil
	case MySQL:
		return &Intents{db: db, q: &mysql}, nil
	}
	return nil, fmt.Errorf("sqlintents: dialect %d, it must be PostgreSQL or MySQL", d)
}

// Migrate makes the table where it is not there yet.
func (i *Intents) Migrate(ctx context.Context) error {
	if _, err := i.db.ExecContext(ctx, i.q.create); err != nil {
		return fmt.Errorf("sqlintents: making the table: %w", err)
	}
	return nil
}

// Begin implements httpidem.Intents.
func (i *Intents) Begin(ctx context.Context, in httpidem.Intent) (httpidem.Intent, error) {
	for {
		n, err := i.exec(ctx, i.q.begin, digest(in.Key), in.Key, in.Name, in.Begun.UnixMicro(), in.Fingerprint[:])
		if err != nil {
			return httpidem.Intent{}, fmt.Errorf("sqlintents: begin: %w", err)
		}
		if n > 0 {
			return in, nil
		}
		prior, err := scan(i.db.QueryRowContext(ctx, i.q.get, digest(in.Key)))
		if errors.Is(err, sql.ErrNoRows) {
			continue // it ended in between
		}
		if err != nil {
			return httpidem.Intent{}, fmt.Errorf("sqlintents: begin: %w", err)
		}
		return prior, httpidem.ErrInDoubt
	}
}

// End implements httpidem.Intents.
func (i *Intents) End(ctx context.Context, key []byte) error {
	if _, err := i.exec(ctx, i.q.end, digest(key)); err != nil {
		return fmt.Errorf("sqlintents: end: %w", err)
	}
	return nil
}

// Resolve implements httpidem.Intents.
func (i *Intents) Resolve(ctx context.Context, key []byte, o httpidem.Outcome) error {
	if err := httpidem.CheckOutcome(o); err != nil {
		return err
	}
	// MySQL counts rows that change, so a second Resolve with the same outcome
	// affects none: whether the row is there is asked for by itself.
	if _, err := i.exec(ctx, i.q.resolve, o.Kind, o.Status, o.ContentType, o.Body, digest(key)); err != nil {
		return fmt.Errorf("sqlintents: resolve: %w", err)
	}
	_, err := scan(i.db.QueryRowContext(ctx, i.q.get, digest(key)))
	if errors.Is(err, sql.ErrNoRows) {
		return httpidem.ErrNoIntent
	}
	if err != nil {
		return fmt.Errorf("sqlintents: resolve: %w", err)
	}
	return nil
}

// List implements httpidem.Intents.
func (i *Intents) List(ctx context.Context) (all []httpidem.Intent, err error) {
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

func (i *Intents) exec(ctx context.Context, statement string, args ...any) (int64, error) {
	for try := 0; ; try++ {
		res, err := i.db.ExecContext(ctx, statement, args...)
		if err == nil {
			return res.RowsAffected()
		}
		if !again(ctx, err, try) {
			return 0, err
		}
	}
}

// digest is the primary key: keys may be longer than an index takes.
func digest(key []byte) []byte {
	sum := sha256.Sum256(key)
	return sum[:]
}

func scan(row interface{ Scan(dest ...any) error }) (in httpidem.Intent, err error) {
	var begun int64
	var fingerprint, body []byte
	var contentType sql.NullString
	err = row.Scan(&in.Key, &in.Name, &begun, &fingerprint, &in.Outcome.Kind, &in.Outcome.Status, &contentType, &body)
	if err != nil {
		return httpidem.Intent{}, err
	}
	in.Begun = time.UnixMicro(begun)
	copy(in.Fingerprint[:], fingerprint)
	in.Outcome.ContentType = contentType.String
	if len(body) > 0 {
		in.Outcome.Body = body
	}
	return in, nil
}
