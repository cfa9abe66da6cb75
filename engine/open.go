package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
	"github.com/firstseen/firstseen/shards"
)

const (
	defaultShards = 16
	minTableKeys  = 8192 // per shard
	// warmFrom is from how many keys per table on all tables are made resident before calls
	// come. Smaller tables are quick to touch and to grow.
	warmFrom    = 4 * minTableKeys
	minRing     = 16 << 20 // see docs/decisions/015
	firstNumber = 1        // of the first generation
)

// Open opens the directory dir, or makes it if it doesn't exist or is empty, and
// brings back everything that was marked in it. It belongs to this engine alone
// until Close.
//
// Errors: ErrLocked, the directory is in use; ErrIncompatible, it was made by a
// newer version or with other Shards, Mode or UntrustedKeys, or it holds what is
// not ours and is no directory of an engine, and nothing was touched; ErrCorrupt (a
// *dedup.CorruptError), something is damaged or missing; ErrDiskFull.
func Open(dir string, opts Options) (*Engine, error) {
	return openWith(dir, config{Options: opts})
}

func openWith(dir string, opts config) (*Engine, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	e := &Engine{opts: opts, fs: opts.fs}
	if dir == "" {
		return nil, errors.New("engine: open: the name of the directory is empty")
	}
	if e.dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("engine: open: %w", err)
	}
	if err := e.open(); err != nil {
		return nil, fmt.Errorf("engine: open %s: %w", dir, errors.Join(err, e.abandon()))
	}
	e.recovery.Took = time.Since(began)
	opts.Logger.Info("firstseen opened", "dir", e.dir, "took", e.recovery.Took, "replayed", e.recovery.Replayed,
		"rebuilt", e.recovery.Rebuilt, "clean", e.recovery.Clean)
	return e, nil
}

// open does what Open does. Until a comment below says otherwise it changes nothing in a directory
// that has an identity, LOCK apart, so that one which this program must not open is left as it
// is. After an error abandon frees what was taken so far.
func (e *Engine) open() error {
	// Before the lock, which makes a file: a directory of somebody else's gets none.
	err := e.checkOurs()
	if err == nil {
		err = e.makeDir()
	}
	if err != nil {
		return err
	}
	if e.lock, err = e.lockDir(); err != nil {
		return err
	}
	if err := e.identify(); err != nil {
		return err
	}
	e.results.e = e
	e.maintainer = maintainer{e: e, kick: make(chan struct{}, 1)}
	e.flusher.e, e.flusher.kick = e, make(chan struct{}, 1)
	e.worker = worker{e: e, jobs: make(chan job, 16), asked: make(chan struct{}, 1),
		snapshotEnds: map[uint64]journal.Pos{}, damaged: map[uint64]bool{}}
	e.store = newStore(e.dir, e.fs, e.opts.Logger)
	e.store.unsynced = e.opts.Temporary
	// Set before anything writes a manifest: ahead has to be what the one on disk says.
	e.store.onManifest = func(m *persist.Manifest) { e.clock.ahead.Store(m.Wall - m.Clock) }
	m, err := persist.ReadManifest(e.fs, e.dir)
	if err != nil {
		return persist.Required(err, filepath.Join(e.dir, persist.ManifestName))
	}
	if len(m.Covered) != e.opts.Shards {
		return e.store.damaged("the manifest has %d shards, the identity %d", len(m.Covered), e.opts.Shards)
	}
	if len(m.Generations) == 0 {
		return e.store.damaged("the manifest names no generation")
	}
	e.store.manifest = *m
	e.settleCapacity(m)
	// openJournal would make a new one, and every key in no run would be forgotten (I5).
	path := filepath.Join(e.dir, persist.JournalName)
	if _, err := e.fs.Stat(path); err != nil {
		return persist.Required(err, path)
	}
	if err := e.openJournal(m); err != nil {
		return err
	}
	// Everything is of a version that this program knows: from here on the directory may be
	// changed.
	if err := vfs.RemoveLeftovers(e.fs, e.dir, isFile); err != nil {
		return err
	}
	if err := e.newSet(m); err != nil {
		return err
	}
	if err := e.warm(); err != nil { // the replay fills this memory already
		return err
	}
	// From here to start nobody else is at work. So what locks and atomics guard otherwise is
	// changed freely.
	rc := recovery{e: e, m: m}
	if err := rc.run(); err != nil {
		return err
	}
	e.recovery = rc.stats
	e.start()
	return nil
}

// warm makes the memory resident that calls are going to need, on all processors: in a caller
// the first touch would take up to 3 ms per MB.
func (e *Engine) warm() error {
	n := runtime.GOMAXPROCS(0)
	errs := make([]error, n)
	var workers sync.WaitGroup
	for w := range n {
		workers.Go(func() {
			for shard := w; shard < e.opts.Shards && errs[w] == nil; shard += n {
				errs[w] = e.warmShard(shard)
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}

func (e *Engine) warmShard(shard int) error {
	tables := 0
	// Without a store there are no tables. Tests set tableKeys, and want no memory touched for
	// their small ones.
	switch keys := e.set.MaxKeys(); {
	case e.opts.Mode != Exact:
	case keys > warmFrom:
		tables = shards.TableSets
	case e.opts.tableKeys == 0 && keys > minTableKeys:
		tables = 1
	}
	record := 0
	if e.opts.KeyBytes > fixedSpace {
		record = recordSpace(e.opts.KeyBytes)
	}
	return e.set.Warm(shard, tables, record)
}

// lockRetry is how often an opening looks whether the directory was closed. A file's lock can't be
// waited for with an end.
const lockRetry = 10 * time.Millisecond

// lockDir locks the directory, and waits for it as long as LockWait says.
func (e *Engine) lockDir() (*persist.DirLock, error) {
	for end := time.Now().Add(e.opts.LockWait); ; {
		lock, err := persist.LockDir(e.dir)
		left := time.Until(end)
		if !errors.Is(err, dedup.ErrLocked) || left <= 0 {
			return lock, err
		}
		<-time.After(min(lockRetry, left))
	}
}

// makeDir makes the directory and those above it that are missing, and makes that durable.
// Otherwise a power cut could take the directory with everything in it.
func (e *Engine) makeDir() error {
	var parents []string // of the ones to be made
	for d := e.dir; ; d = filepath.Dir(d) {
		if _, err := e.fs.Stat(d); !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
			break
		}
		parents = append(parents, filepath.Dir(d))
	}
	if err := e.fs.MkdirAll(e.dir, 0o755); err != nil {
		return err
	}
	for _, d := range parents {
		if err := e.fs.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) openJournal(m *persist.Manifest) error {
	// For a new file: an existing ring keeps its size, and grows with the tables.
	ring, most := e.ringFor(e.firstTables(m)), int64(math.MaxInt64)
	if e.opts.Mode == Approximate {
		ring = max(int64(minRing), min(ring, 64<<20))
	}
	if e.opts.ringBytes > 0 {
		ring, most = e.opts.ringBytes, e.opts.maxRing
	}
	var err error
	e.journal, err = journal.Open(journal.Config{
		FS:        e.fs,
		Path:      filepath.Join(e.dir, persist.JournalName),
		RingBytes: ring,
		MaxRing:   most,
		Sync:      journal.SyncMode(e.opts.Sync),
		Interval:  e.opts.SyncEvery,
		NotBefore: e.opts.NotBefore,
		Logger:    e.opts.Logger,
		BootID:    e.opts.bootID,
	})
	return err
}

func (e *Engine) newSet(m *persist.Manifest) error {
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return err
	}
	live := m.Generations[len(m.Generations)-1]
	keys := e.firstTables(m)
	c := shards.Config{
		Shards:      e.opts.Shards,
		Hasher:      e.hasher,
		Kind:        e.opts.Filter,
		Filter:      e.filterConfig(e.capacity.Load()),
		Generation:  live.Number,
		Generations: e.opts.Generations,
		Log:         log{e.journal},
		Refresh:     e.opts.Refresh,
		MaxKeys:     keys,
		// One set is active; all others wait for their flush before callers wait for memory.
		MaxSealed: (shards.TableSets - 1) * e.opts.Shards,
		// Random, so that a token of an earlier process ends no claim of this one (I6).
		Nonce:  binary.LittleEndian.Uint64(nonce[:]) >> 1,
		Sealed: e.flusher.wake,
	}
	if e.opts.Mode == Exact {
		c.Confirmer = e.store
	}
	e.stepLock = make(chan struct{}, 1)
	e.stop, e.stopNow = context.WithCancel(context.Background())
	e.callPool.New = func() any { return &call{e: e} }
	var err error
	if e.set, err = shards.NewSet(c); err != nil {
		return err
	}
	e.window.length, e.window.span = int64(e.opts.Window), int64(e.opts.span())
	e.window.slots, e.window.set = e.opts.Generations, e.set
	return nil
}

// start starts the goroutines: Open's last step. Close ends them through stop.
func (e *Engine) start() {
	// With one processor a helper could only take it from the caller that waits for it.
	if runtime.GOMAXPROCS(0) > 1 {
		offers := e.store.help
		for range helpers {
			e.running.Go(func() { e.store.helpLoop(offers, e.stop.Done()) })
		}
	}
	e.running.Add(3)
	e.maintainer.lastTold = e.promisedGenerations() // before a rotation can write them
	go e.maintainer.loop()
	go e.flusher.loop()
	go e.worker.loop()
	// The replay may have sealed tables, and rotated.
	e.flusher.wake()
	e.maintainer.wake()
}

// shut closes everything, after the goroutines have ended. A flush or a snapshot that fails
// here loses nothing: the journal and the runs have it all, and the next opening takes longer.
// After a failure (I7) nothing is written, and the directory is left as a kill would leave it.
//
// A manifest comes after all else that is written, with the newest time: what the wall moves on by
// until the next opening counts from there. The lock goes last: whoever gets it finds nobody at
// work.
func (e *Engine) shut() error {
	var errs []error
	failed := e.failure.Load() != nil
	if !failed {
		if err := e.flusher.flushForClose(); err != nil {
			e.opts.Logger.Warn("keys were left to the journal at the close", "error", err)
		}
		if err := e.snapshot(true); err != nil {
			// Without a store the journal holds what the last snapshot lacks.
			e.opts.Logger.Warn("the filters could not be written at the close", "error", err)
		}
		errs = append(errs, e.results.sync(), e.persistMoment())
	}
	errs = append(errs, e.journal.Close(!failed), e.store.close(), e.results.close())
	e.set.Close()
	errs = append(errs, e.lock.Unlock())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("engine: close %s: %w", e.dir, err)
	}
	return nil
}

// abandon frees what a failed open had taken. It writes nothing: the next opening, with other
// options or of another version, must find what this one found.
func (e *Engine) abandon() error {
	var errs []error
	if e.journal != nil {
		errs = append(errs, e.journal.Close(false))
	}
	if e.store != nil {
		errs = append(errs, e.store.close(), e.results.close())
	}
	if e.set != nil {
		e.set.Close()
	}
	if e.stopNow != nil {
		e.stopNow()
	}
	if e.lock != nil {
		errs = append(errs, e.lock.Unlock())
	}
	return errors.Join(errs...)
}
