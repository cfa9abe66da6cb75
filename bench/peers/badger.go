package peers

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/dedup"
)

// badgerTTL is by the wall clock and longer than any run. RudderStack's window
// is an hour by default.
const badgerTTL = 24 * time.Hour

// badgerValue stands for the payload's size, which RudderStack stores in
// decimal.
var badgerValue = []byte("512")

// rudderOptions are the ones of rudder-server's services/dedup/badger.
func rudderOptions(dir string) badger.Options {
	return badger.DefaultOptions(dir).
		WithCompression(options.None).
		WithIndexCacheSize(16 << 20).
		WithBlockCacheSize(0).
		WithNumGoroutines(1).
		WithNumMemtables(5).
		WithValueThreshold(1 << 20).
		WithNumVersionsToKeep(1).
		WithNumLevelZeroTables(5).
		WithNumLevelZeroTablesStall(15).
		WithSyncWrites(false).
		WithDetectConflicts(false)
}

func defaultOptions(dir string) badger.Options { return badger.DefaultOptions(dir) }

func syncOptions(dir string) badger.Options { return rudderOptions(dir).WithSyncWrites(true) }

func badgerCandidate(name string, opts func(dir string) badger.Options, class bench.Durability, about string) bench.Candidate {
	return bench.Candidate{
		Name: name, About: about, Class: class, Embedded: true,
		Modules: []string{"github.com/dgraph-io/badger/v4"},
		Open: func(_ context.Context, s bench.Setup) (bench.Target, error) {
			db, err := badger.Open(opts(s.Dir).WithLogger(nil))
			if err != nil {
				return nil, err
			}
			t := &badgerTarget{db: db}
			t.mu.pending = make(map[string]struct{})
			return t, nil
		},
	}
}

// badgerTarget asks for each key in a read transaction of its own and writes
// the fresh ones of a call in one transaction. Between the two it keeps them in
// a map, so that a twin in the same call or in another goroutine's is seen.
type badgerTarget struct {
	db *badger.DB

	mu struct {
		sync.Mutex
		pending map[string]struct{} // asked for, not yet written
	}
}

func (t *badgerTarget) Admit(_ context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	fresh := make([]string, 0, len(keys))
	for _, raw := range keys {
		key := string(raw)
		duplicate, err := t.has(key)
		if err != nil {
			return vs, err
		}
		if !duplicate {
			fresh = append(fresh, key)
		}
		vs = append(vs, verdictOf(duplicate))
	}
	if err := t.write(fresh); err != nil {
		return vs, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range fresh {
		delete(t.mu.pending, key)
	}
	return vs, nil
}

// has reports whether key is pending or stored, and makes it pending otherwise.
// A key that becomes pending is stored before it stops being so; looking into
// the map first and claiming it before looking into the store leaves no moment
// in which a key that is written meanwhile is seen in neither.
func (t *badgerTarget) has(key string) (bool, error) {
	t.mu.Lock()
	_, pending := t.mu.pending[key]
	if !pending {
		t.mu.pending[key] = struct{}{}
	}
	t.mu.Unlock()
	if pending {
		return true, nil
	}
	err := t.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte(key))
		if err != nil {
			return err
		}
		_, err = item.ValueCopy(nil)
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	t.mu.Lock()
	delete(t.mu.pending, key)
	t.mu.Unlock()
	return err == nil, err
}

func (t *badgerTarget) write(keys []string) error {
	txn := t.db.NewTransaction(true)
	defer func() { txn.Discard() }()
	for _, key := range keys {
		entry := badger.NewEntry([]byte(key), badgerValue).WithTTL(badgerTTL)
		err := txn.SetEntry(entry)
		if errors.Is(err, badger.ErrTxnTooBig) {
			if err = txn.Commit(); err != nil {
				return err
			}
			txn = t.db.NewTransaction(true)
			err = txn.SetEntry(entry)
		}
		if err != nil {
			return err
		}
	}
	return txn.Commit()
}

func (t *badgerTarget) Usage() bench.Usage { return bench.Usage{} }
func (t *badgerTarget) Close() error       { return t.db.Close() }
