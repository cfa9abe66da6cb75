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
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

// The files badger*.go are the only ones that know Badger. A segment has few
// entries (one for each value of about 1 MiB and for each run's index), so everything of
// Badger's that serves many small entries is turned off or made small.
const (
	memTableSize = 1 << 20 // room for about 8,000 entries
	minValueLog  = 64 << 20
	maxValueLog  = 2<<30 - 1 // Badger maps twice that and counts it in 32 bits

	// MaxSegment is how many bytes of values a segment takes at most.
	MaxSegment = maxValueLog - maxValueLog/16

	// Values shorter than this lie in the tree. It must exceed 20: Badger ends a
	// transaction with an entry whose value is its timestamp in digits, and when
	// that goes to the value log too, replaying the log after a kill finds no end
	// and drops every transaction of it, without an error.
	inlineBelow = 32

	// entryOverhead is more than an entry of the value log takes beside its value:
	// 22 bytes of header at most, the key with its version, and a checksum.
	entryOverhead = 64
)

// store is one Badger directory.
type store struct {
	db  *badger.DB
	dir string
	log *storeLog
	// leaked says that Badger was left, by a panic or by its "Invalid read", with
	// a lock of a value-log file held for reading. Closing would wait for it for
	// ever, see close. Any reader sets it, and nobody takes it back.
	leaked atomic.Bool
	// rest is how many bytes the value log still takes before it would be rotated. It is an
	// atomic so that Segment.Room can be asked during a put; put lowers it with putting held.
	rest atomic.Int64

	// putting lets one put in at a time, from the look at the hole to the end of Badger's
	// commit. So the log grows in the order of the puts, and hole knows how far it reaches.
	putting sync.Mutex
	hole    hole // guarded by putting

	// mapped is a range of addresses: values that were opened since the last adviseMapped, and
	// what lies between them. It is guarded by its own lock, a leaf.
	mapped struct {
		sync.Mutex
		from, to uintptr
	}
}

// A value log that grows beyond its size is rotated: readers are blocked for 30 to
// 50 ms, and its map may move, which the runs' slices of it would not survive. So
// a store refuses what doesn't fit into one.
func vlogSize(maxBytes int64) int64 {
	return min(max(maxBytes+maxBytes/16+8<<20, minValueLog), maxValueLog)
}

func storeOptions(dir string, maxBytes int64, log badger.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(log).
		WithSyncWrites(false). // Segment.Sync does, once per flush
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithMetricsEnabled(false).
		WithDetectConflicts(false). // transactions only write
		WithNumVersionsToKeep(1).
		WithMemTableSize(memTableSize).
		// As many values as possible in the value log, see get.
		WithValueThreshold(inlineBelow).
		// A sparse map of twice the size: unused room is free.
		WithValueLogFileSize(vlogSize(maxBytes)).
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

// createStore makes a new Badger directory at dir, which must not exist: what a crash left
// under that name would become a part of the store.
func createStore(dir string, maxBytes int64, logger *slog.Logger) (*store, error) {
	return createStoreOf(dir, logger, segmentStore(dir, maxBytes))
}

func createStoreOf(dir string, logger *slog.Logger, open opener) (*store, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("persist: creating segment: %w", vfs.DiskFull(err))
	}
	s, err := startStore(dir, logger, open)
	if err != nil {
		return nil, fmt.Errorf("persist: creating segment %s: %w", dir, vfs.DiskFull(err))
	}
	return s, nil
}

// An opener has Badger open a directory.
type opener func(s *store) (*badger.DB, error)

func segmentStore(dir string, maxBytes int64) opener {
	return func(s *store) (*badger.DB, error) {
		s.rest.Store(vlogSize(maxBytes) - vlogHeader)
		return badger.Open(storeOptions(dir, maxBytes, s.log))
	}
}

// put stores a value; it is durable after sync, before which some more bytes of values are
// expected. value may be reused afterwards. An error that wraps errNotPut says that nothing
// was written: the flush may be tried again where there is room. After any other it is not
// known what Badger has (I7).
//
// Both refusals come before Badger is asked. It would rotate a full log, and on a full disk it
// would die of SIGBUS where it writes through its map.
func (s *store) put(key, value []byte, more int64) error {
	s.putting.Lock()
	defer s.putting.Unlock()
	need := int64(len(value) + entryOverhead)
	if s.rest.Load() < need {
		return fmt.Errorf("%w: the value log is full", errNotPut)
	}
	if err := s.hole.fill(need, more); err != nil {
		return fmt.Errorf("%w: %w", errNotPut, err)
	}
	s.rest.Add(-need) // before the commit: one that fails may have taken the room all the same
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	if err := txn.SetEntry(badger.NewEntry(key, value)); err != nil {
		return err
	}
	return txn.Commit()
}

// startSync has what was put begin its way to the disk.
func (s *store) startSync() {
	s.putting.Lock()
	defer s.putting.Unlock()
	s.hole.send()
}

// sync makes everything that was put durable. Badger syncs the contents of its
// two current files; the directory, in which they may be new, is left to us, and so are files
// that it has left for new ones since the last sync. Some failures it only logs, so its
// messages are asked too before the sync counts.
func (s *store) sync() error {
	s.adviseMapped()
	if err := s.db.Sync(); err != nil {
		return err
	}
	if err := s.log.failure(); err != nil {
		return err
	}
	return syncTree(s.dir)
}

// noteMapped notes a value for adviseMapped. Values are opened in the order in which they lie,
// mostly; a short one is a copy on the heap.
func (s *store) noteMapped(p []byte) {
	if len(p) < inlineBelow {
		return
	}
	m, from := &s.mapped, address(p)
	m.Lock()
	defer m.Unlock()
	if from < m.to || from-m.to >= vfs.HugePage {
		vfs.AdviseRandom(m.from, m.to)
		m.from = from
	}
	m.to = from + uintptr(len(p))
}

// adviseMapped says of the values that were opened that they are read here and there. It
// is said of many at once: where it is said of a part of a huge page, that is mapped
// by its small ones from then on.
func (s *store) adviseMapped() {
	m := &s.mapped
	m.Lock()
	defer m.Unlock()
	vfs.AdviseRandom(m.from, m.to)
	m.from = m.to
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

// storeRoom is more than Badger writes when it opens or closes: a table of the
// segment's few hundred short entries, and the beginnings of logs.
const storeRoom = 1 << 20

// checkRoom says ErrDiskFull where Badger would lack room: it writes through maps,
// and what doesn't fit ends the process (SIGBUS) or leaves it in a panic.
func checkRoom(dir string) error {
	free, err := vfs.FreeSpace(dir)
	if err != nil || free >= storeRoom {
		return nil //nolint:nilerr // where nobody knows how much there is, we try
	}
	return fmt.Errorf("%w: %d KB are free, %d are needed", dedup.ErrDiskFull, free>>10, storeRoom>>10)
}

// close closes Badger; all pins are gone. A store with a leaked lock is left as kill -9 would
// leave it, with its goroutines idle: all that was promised has been synced before. So is one
// on a full disk, since Badger writes a table when it closes.
func (s *store) close() (err error) {
	s.hole.close()
	if s.leaked.Load() {
		s.log.logger.Error("segment is left open, because reading its damaged value log left a lock behind")
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("persist: closing segment %s: badger panicked: %v", s.dir, p)
		}
	}()
	if err := checkRoom(s.dir); err != nil {
		// What it would write is in its log.
		return fmt.Errorf("persist: segment %s is left open: %w", s.dir, err)
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("persist: closing segment %s: %w", s.dir, vfs.DiskFull(err))
	}
	return nil
}

// giveUp gives the room of the values back where closing would lack it: a store that is left open
// keeps its files' room even when they are removed, so the disk would stay full. Nobody reads
// the values any more.
func (s *store) giveUp() {
	if checkRoom(s.dir) == nil {
		return
	}
	logs, _ := storeFiles(s.dir, ".vlog")
	for _, name := range logs {
		if err := vfs.PunchFile(name); err != nil {
			s.log.logger.Warn("the room of a removed segment comes back later", "file", name, "error", err)
		}
	}
}

// get finds the value of key. It is a slice of Badger's mapped file, which stays
// where it is as long as the store is open: nothing is rotated (see vlogSize) or
// collected. A very short one lies in the tree, and is copied.
func (s *store) get(key []byte) (value []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // perhaps where it holds a lock of the file
			s.leaked.Store(true)
			panic(p)
		}
	}()
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return errMissing
		}
		if err != nil {
			return err
		}
		// A value that can't be read arrives as nil, without an error: Badger only
		// logs it.
		return item.Value(func(p []byte) error {
			if value = p; len(p) < inlineBelow {
				value = bytes.Clone(p)
			}
			return nil
		})
	})
	return value, err
}

var (
	errMissing = errors.New("missing")
	errNotPut  = errors.New("nothing was written")
)

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
		// What is not known here may be a write that failed. To take a harmless message for
		// one costs a new opening; the other way round keys would be lost (I7).
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
