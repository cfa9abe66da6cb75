package persist

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/firstseen/firstseen/dedup"
)

// This file is the only one that knows Badger. A segment has few entries (one a
// value of about 1 MiB, one index a run), so everything of Badger's that serves
// many small entries is turned off or made small.
const (
	memTableSize = 1 << 20 // room for about 8,000 entries
	minValueLog  = 64 << 20
	maxValueLog  = 2<<30 - 1 // Badger maps twice that and counts it in 32 bits
	vlogHeader   = 20        // key ID and IV at the start of a value-log file
	vlogEntryMax = 22        // longest header of an entry
)

// store is one Badger directory.
type store struct {
	db  *badger.DB
	dir string
	log *storeLog
	// leaked says that Badger was left, by a panic or by its "Invalid read", with
	// a lock of a value-log file held for reading. Closing would wait for it for
	// ever, see close.
	leaked atomic.Bool

	mu struct {
		sync.Mutex
		readers []*badger.Txn
	}
}

func storeOptions(dir string, maxBytes int64, log badger.Logger) badger.Options {
	// A rotation of the value log blocks readers for 30 to 50 ms, so a file takes
	// the whole segment. It is a sparse map of twice the size: unused room is free.
	vlog := min(max(maxBytes+maxBytes/16+8<<20, minValueLog), maxValueLog)
	return badger.DefaultOptions(dir).
		WithLogger(log).
		WithSyncWrites(false). // Segment.Sync, once a flush
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithMetricsEnabled(false).
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithMemTableSize(memTableSize).
		// All values lie in the value log, even the smallest: a value that lies in
		// the tree is copied into its Item at every read, which concurrent readers
		// of one Item may not do.
		WithValueThreshold(1).
		WithValueLogFileSize(vlog).
		// Without compactors nothing is rewritten and nothing ticks. Level 0 grows
		// by one table at each opening; it must never make a flush wait for the
		// compaction that does not come.
		WithNumCompactors(0).
		WithNumLevelZeroTablesStall(math.MaxInt).
		// The engine's own LOCK covers the directory, and a store whose close would
		// hang keeps Badger's lock for good.
		WithBypassLockGuard(true).
		// Verification while opening can panic in a goroutine of Badger's; we call
		// VerifyChecksum under our own recover instead.
		WithChecksumVerificationMode(options.NoVerification)
}

// createStore makes a new Badger directory at dir, which must not exist.
func createStore(dir string, maxBytes int64, logger *slog.Logger) (*store, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("persist: creating segment: %w", diskFull(err))
	}
	s, err := startStore(dir, maxBytes, logger)
	if err != nil {
		return nil, fmt.Errorf("persist: creating segment %s: %w", dir, diskFull(err))
	}
	return s, nil
}

// openStore opens an existing Badger directory. What is wrong with its files is
// a *dedup.CorruptError; what is wrong with the process or the machine
// (descriptors, memory, rights, room) is not.
func openStore(dir string, maxBytes int64, logger *slog.Logger) (*store, error) {
	if err := prepareStore(dir); err != nil {
		return nil, err
	}
	s, err := startStore(dir, maxBytes, logger)
	if err == nil {
		err = s.check()
	}
	if err == nil {
		return s, nil
	}
	if s != nil {
		err = errors.Join(err, s.close())
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != syscall.ENOENT {
		return nil, fmt.Errorf("persist: opening segment %s: %w", dir, diskFull(err))
	}
	return nil, corrupt(dir, -1, "the store can't be opened: %v", err)
}

// prepareStore undoes what makes Badger's Open destroy or fail needlessly.
func prepareStore(dir string) error {
	// Without a MANIFEST, Open makes an empty store of it and removes the tables.
	info, err := os.Stat(filepath.Join(dir, badger.ManifestFilename))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return corrupt(dir, -1, "the segment or its file %s is missing", badger.ManifestFilename)
	case err != nil:
		return fmt.Errorf("persist: opening segment: %w", err)
	case info.Size() == 0:
		return corrupt(dir, -1, "its file %s is empty", badger.ManifestFilename)
	}
	// Statistics for the value log's garbage collection, which never runs here.
	// When this file can't be read, Badger ends the process.
	if err := os.Remove(filepath.Join(dir, "DISCARD")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("persist: opening segment: %w", err)
	}
	return protectLog(dir)
}

// protectLog keeps Badger's hands off the newest value-log file: Open reads all
// of it and cuts it off at the first entry whose checksum is wrong, so that one
// flipped bit would destroy everything behind it. Only the file with the highest
// number gets that treatment; so we put an empty one behind it.
func protectLog(dir string) error {
	logs, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil || len(logs) == 0 {
		return err
	}
	last := slices.Max(logs) // six digits, so the longest names are not met
	f, err := os.OpenFile(last, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("persist: opening segment: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("persist: opening segment: %w", err)
	}
	if info.Size() <= vlogHeader {
		return nil
	}
	head := make([]byte, vlogEntryMax)
	if n, _ := f.ReadAt(head, vlogHeader); bytes.Count(head[:n], []byte{0}) == n {
		// Nothing was ever written behind the header: it is what a crash leaves of
		// an unused file, twice ValueLogFileSize of hole. Badger removes it at this
		// length as soon as it is not the last.
		return f.Truncate(vlogHeader)
	}
	var number int
	if _, err := fmt.Sscanf(filepath.Base(last), "%06d.vlog", &number); err != nil {
		return corrupt(last, -1, "a value-log file of unknown name")
	}
	empty := make([]byte, vlogHeader) // key 0: not encrypted
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d.vlog", number+1)), empty, 0o644); err != nil {
		return fmt.Errorf("persist: opening segment: %w", diskFull(err))
	}
	return nil
}

// startStore calls badger.Open under its own recover: damaged files make it
// panic here and there.
func startStore(dir string, maxBytes int64, logger *slog.Logger) (s *store, err error) {
	s = &store{dir: dir, log: &storeLog{}}
	s.log.logger = logger.With("segment", filepath.Base(dir))
	s.log.store = s
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("badger panicked: %v", p)
		}
	}()
	if s.db, err = badger.Open(storeOptions(dir, maxBytes, s.log)); err != nil {
		return nil, err
	}
	return s, nil
}

// check looks at what Open does not: the tables' checksums, and complaints that
// Badger only logged ("Ignoring table").
func (s *store) check() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("badger panicked: %v", p)
		}
	}()
	if err := s.db.VerifyChecksum(); err != nil {
		return err
	}
	return s.log.failure()
}

// put stores a value; it is durable after sync. value may be reused afterwards.
func (s *store) put(key, value []byte) error {
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	if err := txn.SetEntry(badger.NewEntry(key, value)); err != nil {
		return err
	}
	return txn.Commit()
}

// sync makes everything that was put durable. Badger syncs the contents of its
// two current files; the directory, in which they may be new, is left to us.
func (s *store) sync() error {
	if err := s.db.Sync(); err != nil {
		return err
	}
	if err := s.log.failure(); err != nil {
		return err
	}
	return syncTree(s.dir)
}

// syncTree syncs all files of a directory and the directory.
func syncTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		// A file that has gone meanwhile was Badger's to remove (a flushed log).
		if err := syncPath(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncPath(dir)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// close closes Badger. A store with a leaked lock is left as kill -9 would leave
// it, with its goroutines idle: all that was promised has been synced before.
func (s *store) close() (err error) {
	s.mu.Lock()
	readers := s.mu.readers
	s.mu.readers = nil
	s.mu.Unlock()
	for _, txn := range readers {
		txn.Discard()
	}
	if s.leaked.Load() {
		s.log.logger.Error("segment is left open, because reading its damaged value log left a lock behind")
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("persist: closing segment %s: badger panicked: %v", s.dir, p)
		}
	}()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("persist: closing segment %s: %w", s.dir, diskFull(err))
	}
	return nil
}

// reader starts a read transaction that lasts until the store is closed; it sees
// everything that was put before.
func (s *store) reader() *storeReader {
	txn := s.db.NewTransaction(false)
	s.mu.Lock()
	s.mu.readers = append(s.mu.readers, txn)
	s.mu.Unlock()
	return &storeReader{store: s, txn: txn}
}

type storeReader struct {
	store *store
	txn   *badger.Txn
}

// get finds the value of key, which lasts as long as the store.
func (r *storeReader) get(key []byte) (storedValue, error) {
	item, err := r.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return storedValue{}, errMissing
	}
	if err != nil {
		return storedValue{}, err
	}
	return storedValue{item}, nil
}

var errMissing = errors.New("missing")

// storedValue is one value of the value log.
type storedValue struct{ item *badger.Item }

// view calls fn with the value as it lies in the mapped file, valid until fn
// returns. A value that can't be read arrives as nil, without an error: Badger
// only logs it. Concurrent calls are allowed after the first has returned (it
// sets a field of the Item).
func (v storedValue) view(fn func(value []byte) error) error { return v.item.Value(fn) }

// storeLog forwards Badger's messages to slog and remembers those that mean that
// something failed which no return value tells.
type storeLog struct {
	logger *slog.Logger
	store  *store
	failed atomic.Pointer[string] // the first such message
}

func (l *storeLog) failure() error {
	if m := l.failed.Load(); m != nil {
		return fmt.Errorf("%w: badger said: %s", dedup.ErrFailed, *m)
	}
	return nil
}

func (l *storeLog) Errorf(format string, args ...any) {
	m := strings.TrimSpace(fmt.Sprintf(format, args...))
	l.logger.Error("badger: " + m)
	switch {
	case strings.HasPrefix(m, "Invalid read"):
		// valueLog.Read returns without the function that would unlock the file.
		l.store.leaked.Store(true)
	case strings.HasPrefix(m, "Unable to read"), strings.HasPrefix(m, "Key:"):
		// A value that can't be read: the reader says so itself.
	default:
		l.failed.CompareAndSwap(nil, &m)
	}
}

func (l *storeLog) Warningf(format string, args ...any) {
	l.logger.Warn("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l *storeLog) Infof(format string, args ...any) { l.Debugf(format, args...) }

func (l *storeLog) Debugf(format string, args ...any) {
	if l.logger.Enabled(context.Background(), slog.LevelDebug) {
		l.logger.Debug("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
