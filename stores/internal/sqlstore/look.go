package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/firstseen/firstseen/dedup"
)

// Contains says whether key is marked. It changes nothing.
func (s *Store) Contains(ctx context.Context, key []byte) (found bool, err error) {
	column, err := s.open(key)
	if err != nil {
		return false, err
	}
	err = s.retry(ctx, func() (err error) {
		found, err = s.dialect.Contains(ctx, s.db, column)
		return err
	})
	return found, s.fail("contains", err)
}

// Forget takes the mark of key back, so that it is fresh again. A claim on the
// key stays. Forgetting a key that is not marked is no error.
func (s *Store) Forget(ctx context.Context, key []byte) error {
	column, err := s.open(key)
	if err != nil {
		return err
	}
	return s.fail("forget", s.retry(ctx, func() error { return s.dialect.Forget(ctx, s.db, column) }))
}

func (s *Store) open(key []byte) (column string, err error) {
	if s.closed.Load() {
		return "", fmt.Errorf("%s: %w", s.name, dedup.ErrClosed)
	}
	return encode(s.dialect, 0, key)
}

// Ping says whether the store can do its work: the database answers, and its
// tables have this version's form.
func (s *Store) Ping(ctx context.Context) error {
	if s.closed.Load() {
		return s.fail("ping", dedup.ErrClosed)
	}
	version, err := s.dialect.Version(ctx, s.db)
	switch {
	case err != nil:
		return s.fail("ping", err)
	case version < s.dialect.Newest():
		return s.fail("ping", fmt.Errorf("table %s has version %d, this store needs %d: %w",
			s.opts.Table, version, s.dialect.Newest(), errMigrate))
	}
	return nil
}

var errMigrate = errors.New("run Migrate")

// Migrate makes the store's tables, or brings older ones to this version's form.
// It may be called at any time by any number of processes and does nothing where
// nothing is to be done. A table that was made by a newer version gives
// ErrIncompatible and is left alone.
func (s *Store) Migrate(ctx context.Context) error {
	return s.fail("migrate", s.dialect.Migrate(ctx, s.db))
}
