package version

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/firstseen/firstseen/dedup"
)

const (
	keyEntity = 'e' // and the entity
	keyDigest = 'd' // and its SHA-256
	longest   = 255 // bytes of an entity that is kept as it is
	valueSize = 8 + 4
)

var keyTotals = []byte{'t'}

// appendKey appends the entity's key in the database.
func appendKey(b, entity []byte) []byte {
	if len(entity) <= longest {
		return append(append(b, keyEntity), entity...)
	}
	sum := sha256.Sum256(entity)
	return append(append(b, keyDigest), sum[:]...)
}

func encodeValue(key []byte, version uint64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, valueSize), version)
	return binary.BigEndian.AppendUint32(b, valueSum(key, b))
}

func valueSum(key, version []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, version)
}

func decodeValue(key, b []byte) (uint64, error) {
	if len(b) != valueSize || valueSum(key, b[:8]) != binary.BigEndian.Uint32(b[8:]) {
		return 0, fmt.Errorf("the value of %.40q has a wrong length or checksum", key)
	}
	return binary.BigEndian.Uint64(b), nil
}

// hash is what one value adds to the sum.
func hash(key []byte, version uint64) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(key)
	_, _ = d.Write(binary.BigEndian.AppendUint64(nil, version))
	return d.Sum64()
}

// A database is a Badger directory and the promise of what is in it. One
// goroutine uses it at a time.
type database struct {
	dir     string
	badger  *badger.DB
	promise *promise
	totals  totals
	failed  error // of a write: nothing is known until the next opening
}

func openDatabase(dir string, log *slog.Logger) (db *database, err error) {
	p, err := openPromise(dir)
	if errors.Is(err, fs.ErrNotExist) {
		p, err = create(dir)
	}
	if err != nil {
		return nil, err
	}
	db = &database{dir: dir, promise: p}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.close())
			db = nil
		}
	}()
	// Badger makes an empty store where its own list of files is missing.
	inner := filepath.Join(dir, "badger")
	if _, err := os.Stat(filepath.Join(inner, badger.ManifestFilename)); err != nil && p.last.txns > 0 {
		return db, db.corrupt("Badger's file %s: %v", badger.ManifestFilename, err)
	}
	if db.badger, err = openBadger(inner, log); err != nil {
		return db, err
	}
	if err := db.verify(); err != nil {
		return db, err
	}
	if db.totals.txns > p.last.txns { // the crash came before its promise
		return db, p.keep(db.totals)
	}
	return db, nil
}

// create makes the promise of an empty store; the rest is made by opening it.
func create(dir string) (*promise, error) {
	empty, err := isEmpty(dir)
	switch {
	case err != nil:
		return nil, err
	case !empty:
		return nil, &dedup.CorruptError{File: filepath.Join(dir, promiseName), Offset: -1, Detail: "missing, and the directory is not empty"}
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	return createPromise(dir)
}

// makeDir makes a directory, durably: some file systems lose a new directory with all that was
// synced in it while its name has not been synced.
func makeDir(dir string) error {
	var parents []string // of the ones to be made
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
			break
		}
		parents = append(parents, filepath.Dir(d))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, d := range parents {
		if err := syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// openBadger opens Badger for many small entries: all of them lie in its tree.
func openBadger(dir string, log *slog.Logger) (db *badger.DB, err error) {
	defer func() { // damaged files make it panic here and there
		if p := recover(); p != nil {
			err = &dedup.CorruptError{File: dir, Offset: -1, Detail: fmt.Sprintf("Badger panicked: %v", p)}
		}
	}()
	db, err = badger.Open(badger.DefaultOptions(dir).
		WithLogger(badgerLog{log}).
		WithSyncWrites(true).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithMetricsEnabled(false).
		WithDetectConflicts(false). // one writer
		WithMemTableSize(16 << 20).
		WithNumMemtables(2).
		WithNumCompactors(2).
		WithValueLogFileSize(1 << 20). // nothing goes there
		WithCompactL0OnClose(false))
	switch {
	case err == nil:
		return db, nil
	case strings.Contains(err.Error(), "Cannot acquire directory lock"):
		return nil, fmt.Errorf("%w: %w", dedup.ErrLocked, err)
	}
	return nil, &dedup.CorruptError{File: dir, Offset: -1, Detail: err.Error()}
}

func (db *database) corrupt(format string, args ...any) error {
	return &dedup.CorruptError{File: db.dir, Offset: -1, Detail: fmt.Sprintf(format, args...)}
}

// verify reads everything, and compares it with the totals and the promise.
func (db *database) verify() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = db.corrupt("Badger panicked: %v", p)
		}
	}()
	var found totals
	err = db.badger.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			key := it.Item().Key()
			err := it.Item().Value(func(b []byte) (err error) {
				if len(key) == len(keyTotals) && key[0] == keyTotals[0] {
					db.totals, err = decodeTotals(b)
					return err
				}
				version, err := decodeValue(key, b)
				found.entities++
				found.sum += hash(key, version)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	found.txns = db.totals.txns
	switch promised := db.promise.last; {
	case err != nil:
		return db.corrupt("%v", err)
	case found != db.totals:
		return db.corrupt("%d entities with sum %#x are there, it should be %d with %#x", found.entities, found.sum, db.totals.entities, db.totals.sum)
	case found.txns < promised.txns:
		return db.corrupt("the last transaction is %d, %d are promised", found.txns, promised.txns)
	case found.txns > promised.txns+2: // one by a crash, one by a damaged slot
		return db.corrupt("the last transaction is %d, the promise is of %d: an older file", found.txns, promised.txns)
	case found.txns == promised.txns && found != promised:
		return db.corrupt("%d entities with sum %#x are there, %d with %#x are promised", found.entities, found.sum, promised.entities, promised.sum)
	}
	return nil
}

func (db *database) close() error {
	var err error
	if db.badger != nil {
		err = db.badger.Close()
	}
	if err = errors.Join(err, db.promise.file.Close()); err != nil {
		return fmt.Errorf("version: closing %s: %w", db.dir, err)
	}
	return nil
}

// badgerLog passes on what Badger says.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(format string, args ...any)   { l.log.Error(line(format, args)) }
func (l badgerLog) Warningf(format string, args ...any) { l.log.Warn(line(format, args)) }
func (l badgerLog) Infof(format string, args ...any)    { l.log.Debug(line(format, args)) }
func (l badgerLog) Debugf(format string, args ...any)   { l.log.Debug(line(format, args)) }

func line(format string, args []any) string {
	return "badger: " + strings.TrimSpace(fmt.Sprintf(format, args...))
}
