package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

// SyncMode says what Journal.Wait waits for.
type SyncMode uint8

const (
	// SyncAlways waits for the disk (fdatasync), one sync for all who wait.
	SyncAlways SyncMode = iota
	// SyncInterval waits for the operating system to have the frames and syncs
	// every Config.Interval in the background.
	SyncInterval
	// SyncNone waits for the operating system to have the frames.
	SyncNone
)

// Config configures Open.
type Config struct {
	FS   vfs.FS // nil means OS()
	Path string // of the journal's file; Path + ".mark" holds its watermark
	// RingBytes is the ring's size when the file is made, at least 4 KiB, rounded
	// up to whole pages. An existing file keeps its own.
	RingBytes int64
	// MaxRing is what Grow can make a new file's ring at most, up to 4 GiB; not above
	// RingBytes, the ring stays as it is made. An existing file keeps its own.
	MaxRing int64
	// Start is the position of the first frame of a new file, a multiple of 8.
	Start Pos
	Sync  SyncMode
	// NotBefore is a position that the caller knows to have been durable: a file
	// that does not reach it is an older copy.
	NotBefore Pos
	// Interval of SyncInterval, 100 ms when zero.
	Interval time.Duration
	Logger   *slog.Logger // nil: none
	// BootID replaces the machine's own: a test that cuts the power of a file
	// system goes on under the same kernel. nil otherwise.
	BootID *[16]byte
}

// atRisk is what the configuration lets a power loss take.
func (c *Config) atRisk() time.Duration {
	switch c.Sync {
	case SyncAlways:
		return 0
	case SyncInterval:
		return c.Interval
	}
	return noBound
}

// syncsOften says that a sync comes long before the kernel writes a page by itself,
// which it does after half a minute.
func (c *Config) syncsOften() bool {
	return c.Sync == SyncInterval && c.Interval <= 10*time.Second
}

const (
	minRing         = headerLen
	defaultInterval = 100 * time.Millisecond
	// smallBatch is the largest batch in bytes that is copied into the mapping
	// rather than written by a system call. BenchmarkJournalSmall: 0.4 instead of
	// 2.9 µs for 1 KiB, 0.6 to 1.3 instead of 3.4 µs for 2 KiB. Calls for 100 keys, of
	// 2.4 KB, take a tenth less time; above, each call would fault where no page is
	// mapped ahead. With SyncAlways it is a batch that all wait for as for the disk.
	smallBatch = 4096
	// keepBatch is the largest buffer in bytes that is kept for later batches.
	keepBatch = 4 << 20
)

// Journal is a log of frames in a ring that was written once before its first
// use. Frames get their positions in the order of Append; what Wait has
// acknowledged, Replay gives back, or it says that it can't.
//
// All methods may be called at once, except that Replay comes once and before
// the first Append, and Close last. Append may be called with a lock held: it
// does no I/O and waits for none (I8, and what DESIGN.md says under Locks).
type Journal struct {
	// All down to salt is set by Open and then read without a lock. Only head changes later:
	// in Replay, before there are other calls, and in Close, which leaves the epoch alone,
	// since a leader's raise reads it.
	cfg    Config
	file   vfs.File
	ring   []byte        // the mapping's part behind the headers; nil where files can't be mapped
	mapped []byte        // the mapping of the whole file, as closeFiles unmaps it
	mark   *watermark    // nil where files can't be mapped
	head   journalHeader // changed by Replay and Close only
	// intactHeaders counts the copies of the header that were not damaged, of two.
	intactHeaders int
	note          markNote // the watermark as it was found at opening: one of Replay's proofs
	boot          [16]byte // of this run of the kernel, see readBootID
	// size is the ring's bytes once it is fully grown. A position's offset in the ring is its
	// remainder by size from the beginning, so a growth moves no frame.
	size uint64
	// allocatedAtOpen is how many of them the file had at opening: what a replay may read.
	allocatedAtOpen uint64
	// largest is how many bytes a frame takes at most: a quarter of the ring. A reservation
	// takes half at most, so it fits into an empty ring together with the slack for one frame
	// (see room), and nobody waits for ever.
	largest uint64
	salt    uint32 // seeds the checksums of frames and watermark, see journalHeader.salt

	// Frames below durable are on disk, frames below written are with the operating system.
	// Both only grow, and raise stores them after the write or the sync has returned. So a
	// Wait that reads a value high enough may return without taking mu.
	durable, written atomic.Uint64
	// failed publishes the first failure, and stays. It is stored before anybody is woken.
	failed atomic.Pointer[failure]

	mu struct {
		sync.Mutex
		stage stage // from stageClosing on nothing is appended, and end is final

		// The double buffer: frames are appended to pending while the leader, without mu,
		// writes the batch that it took out. Its memory comes back as spare.
		pending, spare batch

		epoch     uint32 // of the frames appended now
		end       Pos    // of the last frame appended
		lap       Pos    // where the ring's current lap began: end - lap is the offset
		hole      uint64 // positions that the lap before skipped at its end, as the file was shorter than the ring
		allocated uint64 // bytes of the ring that the file has now; Grow raises it

		// Group commit: see Wait.
		writing   bool   // a leader is at work; only the leader sets written and durable then
		batchNo   uint64 // of the batch that was taken last
		batchEnd  Pos    // where that one ends: frames behind it are in batchNo + 1
		awaitedNo uint64 // the latest batch that anybody waits for
		syncing   bool   // somebody syncs outside of a batch

		room room

		// Since opening, for State.
		writes uint64 // system calls that wrote frames
		bytes  uint64 // of frames and pads that the operating system was given
		syncs  uint64
	}
	// Callers wait in batchDone[n%2] for batch n. Two are enough: nobody waits for more than
	// the batch under way and the one after it. Their lock is mu, which is not held when they
	// are woken.
	batchDone [2]sync.Cond
	// changed is broadcast when durable, writing, syncing or stage changed, and after a
	// failure. Its lock is mu.
	changed sync.Cond

	// The goroutines are started by Replay and ended by Close.
	stop    chan struct{} // nil before; set under mu
	running sync.WaitGroup
	// growing is held by Grow, and by Close once it has closed stop. So Close waits for the
	// piece that is being written, and no second Grow writes the same one. It is taken before mu.
	growing   sync.Mutex
	pages     ringPages
	readAhead ringReadAhead
}

type stage uint8

const (
	stageOpened stage = iota // Replay has not been called
	stageBroken              // Replay failed
	stageReady
	stageClosing // Close writes out what was appended
	stageClosed
)

// failure is the error of every call after a write or a sync has failed (I7).
type failure struct{ err error }

// Open opens the journal's file, or makes it when there is none. It reads
// the header only; Replay must come next.
//
// The error wraps dedup.ErrCorrupt when the header or the file's length is
// damaged, dedup.ErrIncompatible when a newer version wrote the file, and
// dedup.ErrDiskFull when there was no room for the ring.
func Open(c Config) (*Journal, error) {
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Interval <= 0 {
		c.Interval = defaultInterval
	}
	j := &Journal{cfg: c, boot: readBootID()}
	if c.BootID != nil {
		j.boot = *c.BootID
	}
	j.changed.L = &j.mu
	j.batchDone[0].L, j.batchDone[1].L = waker{&j.mu.Mutex}, waker{&j.mu.Mutex}
	if err := j.openFile(); err != nil {
		return nil, fmt.Errorf("journal: opening %s: %w", c.Path, errors.Join(err, j.closeFiles()))
	}
	return j, nil
}

func (j *Journal) openFile() error {
	c := &j.cfg
	f, err := c.FS.OpenFile(c.Path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := c.create(); err != nil {
			return err
		}
		f, err = c.FS.OpenFile(c.Path, os.O_RDWR, 0)
	}
	if err != nil {
		return err
	}
	j.file = f
	j.head, j.intactHeaders, err = readJournalHeader(f)
	if errors.Is(err, errHeader) {
		return &dedup.CorruptError{File: c.Path, Offset: 0, Detail: err.Error()}
	} else if err != nil {
		return err
	}
	if j.intactHeaders < 2 {
		c.Logger.Warn("one of the two copies of the journal's header is damaged, using the other", "file", c.Path)
	}
	j.size, j.salt = j.head.ring, j.head.salt()
	// A store into the mapping of a file that was cut short ends the process, so
	// the length is checked first.
	size, err := f.Size()
	if err != nil {
		return err
	}
	if least := ringStart + int64(j.head.allocated); size < least || size > ringStart+int64(j.size) {
		return &dedup.CorruptError{File: c.Path, Offset: min(size, least),
			Detail: fmt.Sprintf("the file has %d bytes, header and ring have %d", size, least)}
	}
	// A growth writes and syncs zeroes piece by piece, so what one that a crash interrupted
	// has left is as good as the rest. The file's length tells, the header may be older.
	j.allocatedAtOpen = uint64(size-ringStart) / headerLen * headerLen
	j.largest, j.mu.allocated = j.allocatedAtOpen/4, j.allocatedAtOpen
	// Mapped is all that the file may ever have, so that Grow need not move the mapping under
	// callers. Nothing touches the part that the file does not have yet: it would be a SIGBUS.
	if j.size > math.MaxInt/2 {
		return nil
	}
	if j.mapped, err = f.Map(ringStart + int64(j.size)); err != nil || j.mapped == nil {
		return err
	}
	j.ring = j.mapped[ringStart:]
	j.mark, j.note, err = openWatermark(c.FS, c.Path+MarkSuffix, j.salt)
	return err
}

// create makes the journal that c asks for.
func (c *Config) create() error {
	if c.RingBytes < minRing || c.Start%frameAlign != 0 {
		return fmt.Errorf("RingBytes is %d, at least %d are needed; Start is %d, it must be a multiple of %d", c.RingBytes, minRing, c.Start, frameAlign)
	}
	allocated := roundRing(c.RingBytes)
	ring := max(allocated, min(roundRing(c.MaxRing), maxRing))
	if ring > allocated && c.Start%ring != 0 {
		return fmt.Errorf("Start is %d, the ring of a journal that grows begins at a multiple of %d", c.Start, ring)
	}
	return createJournal(c.FS, c.Path, ring, allocated, c.Start)
}

// closeFiles lets go of everything that openFile got hold of.
func (j *Journal) closeFiles() error {
	var errs []error
	if j.mark != nil {
		errs = append(errs, j.mark.close())
	}
	if j.mapped != nil {
		errs = append(errs, j.file.Unmap(j.mapped))
	}
	if j.file != nil {
		errs = append(errs, j.file.Close())
	}
	return errors.Join(errs...)
}

// Close ends the journal. Calls that wait for room get dedup.ErrClosed.
//
// With clean set it writes and syncs what was appended and notes the exact end
// in the header: the next Replay then knows what must be there. Otherwise it
// leaves the file as a kill would, and who still waits for a frame that was not
// written gets dedup.ErrClosed. It returns the earlier failure if there was one;
// a second Close does nothing.
//
//  1. stageClosing refuses Append and Reserve, so the end is final. Wait still works, for
//     those whose frames were appended before.
//  2. The goroutines and a Grow under way end. From here on only callers in Wait or Sync use
//     the file.
//  3. With clean set what was appended is synced, and only then does the header name the end:
//     after a crash it must not vouch for frames that are not there.
//  4. The last leader and the last sync are waited for. They use the mapping, which closeFiles
//     takes away.
func (j *Journal) Close(clean bool) error {
	j.mu.Lock()
	if j.mu.stage >= stageClosing {
		j.mu.Unlock()
		return nil
	}
	ready := j.mu.stage == stageReady
	j.mu.stage = stageClosing
	j.mu.room.fail(dedup.ErrClosed)
	j.mu.Unlock()
	if j.stop != nil {
		close(j.stop)
		j.running.Wait()
		j.growing.Lock() // a Grow under way sees stop
		defer j.growing.Unlock()
	}
	var err error
	if ready && clean {
		err = j.closeClean()
	}
	j.mu.Lock()
	for j.mu.writing || j.mu.syncing {
		j.changed.Wait()
	}
	j.mu.stage = stageClosed
	j.wakeAllLocked()
	j.mu.Unlock()
	if f := j.failed.Load(); f != nil {
		err = f.err
	}
	return errors.Join(err, j.closeFiles())
}

func (j *Journal) closeClean() error {
	if err := j.syncAll(); err != nil {
		return err
	}
	// Nothing can be appended any more, so end is final.
	j.mu.Lock()
	end := j.mu.end
	j.head.allocated = j.mu.allocated
	j.mu.Unlock()
	j.head.clean, j.head.cleanEnd = true, end
	j.head.sequence++
	if err := writeJournalHeader(j.file, &j.head); err != nil {
		j.fail("closing", err)
		return j.failed.Load().err
	}
	return nil
}

// fail makes every later call an error (I7). The first failure stays. mu must not be held.
//
// Nobody sleeps through it. A waiter looks at failed under mu, and is on its condition's list
// before mu is free again. Here failed is stored before mu is taken. So a waiter either sees it
// or is on the list when everybody is woken.
func (j *Journal) fail(doing string, cause error) {
	err := fmt.Errorf("journal %s: %w: %s: %w", j.cfg.Path, dedup.ErrFailed, doing, vfs.DiskFull(cause))
	if !j.failed.CompareAndSwap(nil, &failure{err}) {
		return
	}
	j.cfg.Logger.Error("the journal failed, marks are refused until it is opened again", "file", j.cfg.Path, "doing", doing, "cause", cause)
	j.mu.Lock()
	j.mu.room.fail(err)
	j.wakeAllLocked()
	j.mu.Unlock()
}

// wakeAllLocked wakes everybody who waits for anything but room. Those who wait for room have
// channels of their own: see room.fail.
func (j *Journal) wakeAllLocked() {
	j.changed.Broadcast()
	j.batchDone[0].Broadcast()
	j.batchDone[1].Broadcast()
}

// usableLocked returns the error of a call that can't be served, nil for a journal
// that is ready.
func (j *Journal) usableLocked() error {
	if f := j.failed.Load(); f != nil {
		return f.err
	}
	switch j.mu.stage {
	case stageReady:
		return nil
	case stageOpened, stageBroken:
		return errors.New("journal: it was not replayed")
	default:
		return dedup.ErrClosed
	}
}
