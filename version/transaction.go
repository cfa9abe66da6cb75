package version

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/firstseen/firstseen/dedup"
)

// A transaction is one group's reads and writes.
type transaction struct {
	db     *database
	badger *badger.Txn
	totals totals // as they will be
	dirty  bool
	err    error // of a write
}

func (db *database) begin() *transaction {
	t := &transaction{db: db, totals: db.totals, err: db.failed}
	if t.err == nil {
		t.badger = db.badger.NewTransaction(true)
	}
	return t
}

// get returns the entity's version as the transaction has it, 0 for none.
func (t *transaction) get(key []byte) (version uint64, err error) {
	if t.err != nil {
		return 0, t.err
	}
	defer func() {
		if p := recover(); p != nil {
			err = t.db.corrupt("Badger panicked: %v", p)
		}
	}()
	item, err := t.badger.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, nil
	}
	if err == nil {
		err = item.Value(func(b []byte) error {
			version, err = decodeValue(key, b)
			return err
		})
	}
	if err != nil {
		return 0, t.db.corrupt("%v", err)
	}
	return version, nil
}

// set replaces an entity's version. key is kept until the end.
func (t *transaction) set(key []byte, old, version uint64) {
	if old == 0 {
		t.totals.entities++
	} else {
		t.totals.sum -= hash(key, old)
	}
	t.totals.sum += hash(key, version)
	t.dirty = true
	t.err = errors.Join(t.err, t.badger.Set(key, encodeValue(key, version)))
}

// commit makes the transaction durable, and then its promise. After an error
// the database takes nothing any more: what is on disk is not known.
func (t *transaction) commit() error {
	if t.badger != nil {
		defer t.badger.Discard()
	}
	if t.db.failed != nil || !t.dirty {
		return t.db.failed
	}
	t.totals.txns++
	err := t.err
	if err == nil {
		err = t.badger.Set(keyTotals, t.totals.encode())
	}
	if err == nil {
		err = t.badger.Commit()
	}
	if err == nil {
		err = t.db.promise.keep(t.totals)
	}
	if err != nil {
		t.db.failed = fmt.Errorf("%w: %w", dedup.ErrFailed, err)
		return t.db.failed
	}
	t.db.totals = t.totals
	return nil
}
