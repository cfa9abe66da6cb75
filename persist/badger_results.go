package persist

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

// Results have an entry for each record, so their memtable is larger than a segment's; each holds
// some 30,000. A look-up asks one table for every so many records, by its filter first.
const (
	resultMemTable = 4 << 20
	resultValueLog = 64 << 20
	// resultPiece is how many bytes of values go into one of Badger's transactions.
	resultPiece = 16 << 20
	// ResultsRoom is more than a write of results takes on disk beside its values: a memtable's
	// log and its table.
	ResultsRoom = 4 * resultMemTable
)

// resultStore opens a Badger whose versions are ours, and all kept: nothing that was written is
// ever replaced or dropped, by compactions neither, as there are none. So the sums of all that
// was ever written can be compared with what is there, which is how missing records show.
//
// Unlike a segment's, its value log may be rotated: results are copied out of it, and nobody
// keeps slices of its map.
func resultStore(dir string) opener {
	return func(s *store) (*badger.DB, error) {
		return badger.OpenManaged(storeOptions(dir, 0, s.log).
			WithMemTableSize(resultMemTable).
			WithNumVersionsToKeep(math.MaxInt).
			WithValueLogFileSize(resultValueLog))
	}
}

func createResultStore(dir string, logger *slog.Logger) (*store, error) {
	return createStoreOf(dir, logger, resultStore(dir))
}

func openResultStore(dir string, logger *slog.Logger) (*store, error) {
	return openStoreOf(dir, logger, resultStore(dir))
}

// Write stores the records of some calls; they are durable after Sync. All of them begin their
// way at once, so that Badger writes them together. After an error nobody knows which of them
// are there. The caller has checked the free space for them and ResultsRoom.
func (r *Results) Write(writes []ResultsWrite) error {
	if !r.pins.pin() {
		return ErrRetired
	}
	defer r.pins.unpin()
	done, begun := make(chan error, 1), 0
	ended := func(err error) { done <- err }
	var errs []error
	for i := range writes {
		n, err := r.store.begin(&writes[i], ended)
		begun += n
		if err != nil {
			errs = append(errs, err)
			break
		}
	}
	for range begun {
		errs = append(errs, <-done)
	}
	errs = append(errs, r.store.log.failure())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("persist: writing results %s: %w: %w", r.path, dedup.ErrFailed, vfs.DiskFull(err))
	}
	return nil
}

// begin hands the records of a call to Badger in transactions, and returns how many of them
// there are. Each tells ended when it is over. All have the call's number as their version in
// Badger, by which a key's newest record is found. A kill may leave some of a call's records and not
// others. They are orphans and are taken back, since the frame that promises them comes later.
func (s *store) begin(w *ResultsWrite, ended func(error)) (begun int, err error) {
	txn, bytes := s.db.NewTransactionAt(math.MaxUint64, true), 0
	commit := func() {
		_ = txn.CommitAt(w.Seq, ended) // its error goes to ended
		begun++
	}
	for i := range w.Records {
		rec := &w.Records[i]
		if bytes > resultPiece {
			commit()
			txn, bytes = s.db.NewTransactionAt(math.MaxUint64, true), 0
		}
		entry := badger.NewEntry(rec.Key, appendResult(make([]byte, 0, len(rec.Data)+resultOverhead), w.Seq, rec))
		err := txn.SetEntry(entry)
		if errors.Is(err, badger.ErrTxnTooBig) {
			commit()
			txn, bytes = s.db.NewTransactionAt(math.MaxUint64, true), 0
			err = txn.SetEntry(entry)
		}
		if err != nil {
			txn.Discard()
			return begun, err
		}
		bytes += len(rec.Data)
	}
	commit()
	return begun, nil
}

// Sync makes everything durable that was written before. Badger syncs the logs that it
// writes to; where it has begun new ones since the last Sync, an older one may have been
// left unsynced, and the directory does not know the new ones for sure.
func (r *Results) Sync() error {
	if !r.pins.pin() {
		return ErrRetired
	}
	defer r.pins.unpin()
	r.sync.Lock()
	defer r.sync.Unlock()
	err := r.store.db.Sync()
	// Only now: a log that is left while Badger syncs its successor would be missed.
	names, lerr := fileNames(r.path)
	if err = errors.Join(err, lerr); err == nil && !slices.Equal(names, r.names) {
		if err = syncTree(r.path); err == nil {
			r.names = names
		}
	}
	if err = errors.Join(err, r.store.log.failure()); err != nil {
		return fmt.Errorf("persist: syncing results %s: %w: %w", r.path, dedup.ErrFailed, vfs.DiskFull(err))
	}
	return nil
}

func fileNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, f.Close())
}

// Get returns the newest record of a key; ok says whether there is one. Its Data is appended
// to buf. A damaged record is a *dedup.CorruptError.
func (r *Results) Get(key, buf []byte) (rec ResultRecord, seq uint64, ok bool, err error) {
	if !r.pins.pin() {
		return rec, 0, false, ErrRetired
	}
	defer r.pins.unpin()
	defer r.recovered(debug.SetPanicOnFault(true), &err)
	txn := r.store.db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return rec, 0, false, nil
	}
	if err != nil {
		return rec, 0, false, corrupt(r.path, -1, "looking a result up: %v", err)
	}
	rec, err = r.record(item, buf)
	return rec, item.Version(), err == nil, err
}

func (r *Results) record(item *badger.Item, buf []byte) (rec ResultRecord, err error) {
	rec.Key = item.KeyCopy(nil)
	seq := item.Version()
	// A value that can't be read arrives as nil, without an error.
	verr := item.Value(func(value []byte) error {
		kind, data, ok := parseResult(seq, rec.Key, value)
		if !ok {
			return corrupt(r.path, -1, "the record %d of key %x is damaged", seq, rec.Key)
		}
		rec.Kind, rec.Data = kind, append(buf, data...)
		return nil
	})
	if verr != nil && !errors.Is(verr, dedup.ErrCorrupt) {
		return rec, corrupt(r.path, -1, "reading a result: %v", verr)
	}
	return rec, verr
}

// recovered makes an error of a panic, Badger's or that of a page that the disk can't give. Badger
// may have panicked with a lock of a log held, so the store counts as leaked.
func (r *Results) recovered(faults bool, err *error) {
	debug.SetPanicOnFault(faults)
	if p := recover(); p != nil {
		r.store.leaked.Store(true)
		*err = corrupt(r.path, -1, "badger panicked: %v", p)
	}
}

// Scan gives key and number of every record that was ever written and is there; they are lent for the
// time of the call. Badger leaves damaged ones out without an error: count them.
func (r *Results) Scan(each func(key []byte, seq uint64) error) error {
	return r.scan(func(item *badger.Item) error { return each(item.Key(), item.Version()) })
}

// Verify is Scan with a look at every value, which damage gives bad.
func (r *Results) Verify(each func(key []byte, seq uint64) error, bad func(err error)) error {
	var buf []byte
	return r.scan(func(item *badger.Item) error {
		rec, err := r.record(item, buf[:0])
		if errors.Is(err, dedup.ErrCorrupt) {
			bad(err)
		} else if err != nil {
			return err
		}
		buf = rec.Data
		return each(item.Key(), item.Version())
	})
}

func (r *Results) scan(each func(item *badger.Item) error) (err error) {
	if !r.pins.pin() {
		return ErrRetired
	}
	defer r.pins.unpin()
	defer r.recovered(debug.SetPanicOnFault(true), &err)
	txn := r.store.db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: false, AllVersions: true, Prefix: []byte{resultPrefix}})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := each(it.Item()); err != nil {
			return err
		}
	}
	return nil
}
