package persist

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

// ErrRetired says that a run's segment was closed or removed. It wraps
// dedup.ErrClosed.
var ErrRetired = fmt.Errorf("persist: segment retired: %w", dedup.ErrClosed)

// SegmentConfig says where a segment is.
type SegmentConfig struct {
	Dir      string // of the engine; the segment is the directory seg-%08d in it
	ID       uint64
	MaxBytes int64        // of all values; 64 MiB or more are taken as they come, see Segment.Room
	Logger   *slog.Logger // nil: none
	// Unsynced says that the segment ends with the process: Sync does nothing.
	Unsynced bool
}

func (c SegmentConfig) path() string { return SegmentPath(c.Dir, c.ID) }

func (c SegmentConfig) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// SegmentPath is the directory of segment id of the engine's directory dir.
func SegmentPath(dir string, id uint64) string { return numberedPath(dir, segmentPrefix, id, "") }

// A Segment holds runs: one Badger directory, which is written, synced, read and
// at the end removed as a whole. All methods may be called at once, and runs may
// be written and read at once.
type Segment struct {
	config SegmentConfig
	path   string
	store  *store
	bytes  atomic.Int64 // see Bytes; several RunWriters add to it at once
	// pins are held while the store is used, and while mapped values are read: closing unmaps
	// them.
	pins  pins
	close struct {
		sync.Once
		err error
	}
}

// CreateSegment makes a new segment; its directory must not exist. It is durable
// after the first Sync.
func CreateSegment(c SegmentConfig) (*Segment, error) {
	s := newSegment(c)
	var err error
	if s.store, err = createStore(s.path, c.MaxBytes, c.logger()); err != nil {
		return nil, err
	}
	if c.Unsynced {
		return s, nil
	}
	if err := syncPath(c.Dir); err != nil {
		return nil, errors.Join(fmt.Errorf("persist: creating segment %s: %w", s.path, err), s.Close())
	}
	return s, nil
}

func newSegment(c SegmentConfig) *Segment {
	s := &Segment{config: c, path: c.path()}
	s.pins.drained = make(chan struct{}, 1)
	return s
}

// OpenSegment opens a segment and the runs that meta promises (I5): all of their
// values must be there at their length, and their indexes must be whole. Else
// the error is a *dedup.CorruptError (several are joined). What the store holds
// beyond meta is ignored: it is left over from flushes that a crash interrupted.
func OpenSegment(c SegmentConfig, meta SegmentMeta) (*Segment, []*Run, error) {
	s, runs, err := SalvageSegment(c, meta)
	if err != nil {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
		return nil, nil, err
	}
	return s, runs, nil
}

// SalvageSegment is OpenSegment for repair: with some of the runs damaged it
// returns the segment, the runs that are sound at this level, and the errors of
// the others. The segment is nil when it can't be opened at all.
func SalvageSegment(c SegmentConfig, meta SegmentMeta) (*Segment, []*Run, error) {
	if c.ID != meta.ID {
		return nil, nil, fmt.Errorf("persist: opening segment %d with the description of segment %d", c.ID, meta.ID)
	}
	s := newSegment(c)
	var err error
	if s.store, err = openStore(s.path, c.MaxBytes, c.logger()); err != nil {
		return nil, nil, err
	}
	runs := make([]*Run, 0, len(meta.Runs))
	var problems []error
	for _, m := range meta.Runs {
		r, err := s.openRun(m)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		runs = append(runs, r)
		s.bytes.Add(m.Bytes())
	}
	s.store.adviseMapped()
	// Badger begins another value log at each opening: what the others hold counts too, or a
	// segment that is opened again and again would outgrow MaxSegment.
	s.store.rest.Store(min(s.store.rest.Load(), MaxSegment-s.bytes.Load()))
	return s, runs, errors.Join(problems...)
}

// ID returns the segment's number.
func (s *Segment) ID() uint64 { return s.config.ID }

// Path returns the segment's directory.
func (s *Segment) Path() string { return s.path }

// Bytes returns the length of all values that were written or promised, which is
// what the segment takes on disk but for some 100 KB, and after a kill a value more.
func (s *Segment) Bytes() int64 { return s.bytes.Load() }

// Room returns how many bytes of values can still be written. A run that does not
// fit is an error of Finish.
func (s *Segment) Room() int64 { return s.store.rest.Load() }

// Sync makes all finished runs durable. Only after it may the manifest name them (I5). An
// error wraps dedup.ErrFailed: what is on disk is not known (I7).
func (s *Segment) Sync() error {
	if !s.pins.pin() {
		return ErrRetired
	}
	defer s.pins.unpin()
	if s.config.Unsynced {
		s.store.adviseMapped()
		return nil
	}
	if err := s.store.sync(); err != nil {
		return fmt.Errorf("persist: syncing segment %s: %w: %w", s.path, dedup.ErrFailed, vfs.DiskFull(err))
	}
	return nil
}

// StartSync starts writing to the disk what was added, without waiting for it, so that others
// wait less behind the Sync that follows. It does nothing on systems that have no call for it.
func (s *Segment) StartSync() {
	if !s.config.Unsynced && s.pins.pin() {
		defer s.pins.unpin()
		s.store.startSync()
	}
}

// Close waits for the calls under way, which finish, and closes the store. Later
// calls on the segment and its runs give ErrRetired. It may be called again.
func (s *Segment) Close() error { return s.closeWith(s.store.close) }

func (s *Segment) closeWith(closeStore func() error) error {
	s.close.Do(func() {
		s.pins.drain()
		s.close.err = closeStore()
	})
	return s.close.err
}

// Remove closes the segment, removes its directory and makes that durable. The
// manifest must not name the segment any more.
func (s *Segment) Remove() error {
	// Whether closing succeeded is of no interest: nothing is left to lose.
	closeErr := s.closeWith(func() error {
		s.store.giveUp()
		return s.store.close()
	})
	if err := RemoveSegmentDir(s.config.Dir, s.config.ID); err != nil {
		return errors.Join(err, closeErr)
	}
	return nil
}

// RemoveSegmentDir removes the directory of a segment that is not open, and
// makes that durable. There need not be one.
func RemoveSegmentDir(dir string, id uint64) error {
	path := SegmentPath(dir, id)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("persist: removing segment: %w", err)
	}
	if err := syncPath(dir); err != nil {
		return fmt.Errorf("persist: removing segment %s: %w", path, err)
	}
	return nil
}

// ListSegmentDirs returns the numbers of the segments in dir, ascending.
func ListSegmentDirs(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return nil, fmt.Errorf("persist: listing segments: %w", err)
	}
	ids := numbered(entries, segmentPrefix, "", true)
	slices.Sort(ids)
	return ids, nil
}

// pins counts the calls that use the store. Closing waits for them, and they never wait for
// closing: with a RWMutex new readers would wait behind a closer that waits for a long scan.
type pins struct {
	n       atomic.Int64  // pins held, plus pinsClosed once draining
	drained chan struct{} // gets a message when the last pin of a draining segment goes
}

// pinsClosed is far below any number of pins, so that the count is negative from drain on.
const pinsClosed = -1 << 62

// pin reports whether the store may be used; then unpin must follow. It counts first and looks
// after: with a look first, drain could find no pin in between and close under the caller.
func (p *pins) pin() bool {
	if p.n.Add(1) > 0 {
		return true
	}
	p.unpin()
	return false
}

// unpin undoes pin. Whoever brings the count down to pinsClosed leaves a message for drain.
// Pins that fail later may leave another one, which nobody reads.
func (p *pins) unpin() {
	if p.n.Add(-1) == pinsClosed {
		select {
		case p.drained <- struct{}{}: // room for one, so it is not lost when drain is not there yet
		default:
		}
	}
}

// drain refuses new pins and waits for those held. It is called once.
func (p *pins) drain() {
	if p.n.Add(pinsClosed) == pinsClosed {
		return
	}
	// A pin was held at the Add. A failing pin may overlap its unpin; whichever
	// of them comes last finds the count at pinsClosed, and then none is held.
	<-p.drained
}
