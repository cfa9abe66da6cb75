package peers

import (
	"context"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/dedup"
)

// Pebble's own defaults are an 8 MB cache, a 4 MB memtable and no filter, which
// suit a test. These are what its documentation and users take for point reads
// of keys that are mostly absent.
const (
	pebbleCache    = 256 << 20
	pebbleMemtable = 64 << 20
	pebbleBits     = 10
)

func pebbleCandidate(name string, sync bool, class bench.Durability) bench.Candidate {
	about := "Pebble, table filter of 10 bits per key, cache 256 MB, memtable 64 MB, Get a key then one batch, "
	write := pebble.NoSync
	if sync {
		about, write = about+"synced", pebble.Sync
	} else {
		about += "not synced"
	}
	return bench.Candidate{
		Name: name, About: about, Class: class, Embedded: true, Journal: "*.log",
		Modules: []string{"github.com/cockroachdb/pebble/v2"},
		Open: func(_ context.Context, s bench.Setup) (bench.Target, error) {
			db, err := openPebble(s.Dir)
			if err != nil {
				return nil, err
			}
			t := &pebbleTarget{db: db, write: write}
			t.mu.pending = make(map[string]struct{})
			return t, nil
		},
	}
}

func openPebble(dir string) (*pebble.DB, error) {
	cache := pebble.NewCache(pebbleCache)
	defer cache.Unref()
	o := &pebble.Options{
		Cache:        cache,
		MemTableSize: pebbleMemtable,
		Logger:       quiet{},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(pebbleBits)
	}
	return pebble.Open(dir, o)
}

// pebbleTarget works like badgerTarget: look up each key, write the fresh ones
// of a call in one batch, keep them in a map in between.
type pebbleTarget struct {
	db    *pebble.DB
	write *pebble.WriteOptions

	mu struct {
		sync.Mutex
		pending map[string]struct{} // asked for, not yet written
	}
}

func (t *pebbleTarget) Admit(_ context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	batch := t.db.NewBatch()
	defer batch.Close()
	var fresh [][]byte
	for _, key := range keys {
		duplicate, err := t.has(key)
		if err != nil {
			return vs, err
		}
		if !duplicate {
			fresh = append(fresh, key)
			if err := batch.Set(key, nil, nil); err != nil {
				return vs, err
			}
		}
		vs = append(vs, verdictOf(duplicate))
	}
	if err := batch.Commit(t.write); err != nil {
		return vs, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range fresh {
		delete(t.mu.pending, string(key))
	}
	return vs, nil
}

// has: see badgerTarget.has.
func (t *pebbleTarget) has(key []byte) (bool, error) {
	t.mu.Lock()
	_, pending := t.mu.pending[string(key)]
	if !pending {
		t.mu.pending[string(key)] = struct{}{}
	}
	t.mu.Unlock()
	if pending {
		return true, nil
	}
	_, closer, err := t.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	t.mu.Lock()
	delete(t.mu.pending, string(key))
	t.mu.Unlock()
	if err != nil {
		return false, err
	}
	return true, closer.Close()
}

func (t *pebbleTarget) Usage() bench.Usage {
	m := t.db.Metrics()
	return bench.Usage{
		Memory:  m.BlockCache.Size + int64(m.MemTable.Size),
		Flushes: uint64(m.Flush.Count),
	}
}

// Close flushes first, so that all keys lie in tables and disk a key can be
// told apart from the preallocated log.
func (t *pebbleTarget) Close() error { return errors.Join(t.db.Flush(), t.db.Close()) }

// quiet drops a library's notes on its own progress. Fatal still ends the
// process, as the interface demands.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	pebble.DefaultLogger.Fatalf(format, args...)
}
