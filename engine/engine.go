package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/nanotime"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
	"github.com/firstseen/firstseen/shards"
)

// An Engine answers whether a key was seen within the window. Open makes one;
// all methods may be called by any number of goroutines at once.
type Engine struct {
	opts    config
	dir     string
	fs      vfs.FS
	lock    *persist.DirLock
	id      persist.Identity
	hasher  *hash.Hasher
	set     *shards.Set
	journal *journal.Journal
	store   *store
	results results
	clock   clock
	window  window

	maintainer maintainer
	flusher    flusher
	worker     worker

	callPool sync.Pool // of *call: the scratch of calls
	counts   counts
	gate     struct {
		sync.RWMutex // held for reading by every call, so that Close can wait for all of them
		closed       atomic.Bool
	}
	failure  atomic.Pointer[error] // set once; every call returns it from then on (I7)
	diskFull atomic.Bool           // calls that mark are refused; look-ups are not
	refusing sync.Mutex            // held by refuseWaiting
	batches  atomic.Int32          // calls with many keys that are at work, see beginTurn

	// Goroutines, started by Open, ended by Close through stop: the loops of maintainer,
	// flusher and worker and, where there are two processors, the helpers.
	stop     context.Context
	stopNow  context.CancelFunc
	running  sync.WaitGroup
	stepLock chan struct{} // held by persistStep: a mutex that is given up when a ctx ends
	recovery RecoveryStats

	capacity   atomic.Uint64 // keys within a window that the filters are sized for
	rotated    atomic.Bool   // afterRotation has something to do
	roomWanted atomic.Bool   // a call, or a rotation, waits for room in the journal
	fitDue     atomic.Bool   // a generation is over: watchSizes is to fit the tables to the fullest one

	// Each keeps the maintenance, which looks every 50 ms, from starting the same thing twice. It must not
	// find the worker's queue full: see worker.post.
	snapshotting atomic.Bool // a snapshot is among the worker's jobs
	following    atomic.Bool // afterRotation is among them, and has not begun
	growing      atomic.Bool // a growth of the filters is among them
	growthFailed atomic.Bool // it met damage, as it would again: filters stay as they are
	resizing     atomic.Bool // a goroutine changes the size of tables or ring

	snapshots sync.Map // numbers of sealed generations that have a snapshot of the present filter
	scrub     scrubber
}

var errNoStore = fmt.Errorf("%w: approximate engines keep no keys", dedup.ErrUnsupported)

// Admit marks key and says whether it is Fresh, Duplicate or InFlight (claimed
// by somebody). With Sync's default the mark is on disk when Admit returns. An
// error comes with Unknown: whether the key is marked is not known then.
func (e *Engine) Admit(ctx context.Context, key []byte) (dedup.Verdict, error) {
	c, err := e.begin(ctx, true)
	if err != nil {
		return dedup.Unknown, err
	}
	c.key[0], c.verdict[0] = key, dedup.Unknown
	err = c.admitOne(ctx)
	v := c.verdict[0]
	return v, e.end(c, 1, err)
}

// AdmitBatch marks keys and appends one verdict for each to vs, in their order.
// A key that comes twice in the batch is Fresh once. A key of invalid length
// gets Unknown and a *dedup.KeyError (several are joined); all others are
// answered. With any other error keys without an answer are Unknown, and the
// answers that are there hold.
func (e *Engine) AdmitBatch(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	base := len(vs)
	vs = appendUnknown(vs, len(keys))
	c, err := e.begin(ctx, true)
	if err != nil {
		return vs, err
	}
	err = c.answer(ctx, keys, vs[base:], doAdmit)
	return vs, e.end(c, len(keys), err)
}

// Contains reports whether key is marked. It marks nothing and looks at no
// claims.
func (e *Engine) Contains(ctx context.Context, key []byte) (bool, error) {
	c, err := e.begin(ctx, false)
	if err != nil {
		return false, err
	}
	c.key[0], c.verdict[0] = key, dedup.Unknown
	err = c.look(ctx, c.key[:], c.verdict[:])
	seen := c.verdict[0] == dedup.Duplicate
	return seen, e.end(c, 1, err)
}

// ContainsBatch is Contains for many keys. It appends a verdict for each to vs, in their
// order: Duplicate where the key is marked, Fresh where it is not, and Unknown with the
// errors of AdmitBatch, or without one where the key may have been marked in a lost part
// of the window.
func (e *Engine) ContainsBatch(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	base := len(vs)
	vs = appendUnknown(vs, len(keys))
	c, err := e.begin(ctx, false)
	if err != nil {
		return vs, err
	}
	err = c.answer(ctx, keys, vs[base:], doLook)
	return vs, e.end(c, len(keys), err)
}

// Forget takes the mark of key back, so that it is Fresh again; durable when it
// returns. A claim on the key stays. Forgetting a key that is not marked is no
// error. Approximate engines give ErrUnsupported.
func (e *Engine) Forget(ctx context.Context, key []byte) error {
	if e.opts.Mode == Approximate {
		return fmt.Errorf("engine: forget: %w", errNoStore)
	}
	c, err := e.begin(ctx, true)
	if err != nil {
		return err
	}
	return e.end(c, 1, c.forget(ctx, key))
}

// Claim asks for the right to handle key: Verdict Fresh gives it, with a token,
// until Commit, Release or the end of the lease (Options.Lease, Extend).
func (e *Engine) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	c, err := e.begin(ctx, true)
	if err != nil {
		return dedup.Claim{Key: key}, err
	}
	c.key[0], c.claimed[0] = key, dedup.Claim{Key: key}
	err = c.claim(ctx, c.key[:], c.claimed[:])
	claim := c.claimed[0]
	c.claimed[0] = dedup.Claim{}
	return claim, e.end(c, 1, err)
}

// ClaimBatch claims keys and appends one claim for each to cs, in their order.
// Errors are as for AdmitBatch. A key that comes twice is Fresh once and then
// InFlight.
func (e *Engine) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	base := len(cs)
	cs = append(cs, make([]dedup.Claim, len(keys))...)
	for i, key := range keys {
		cs[base+i].Key = key
	}
	c, err := e.begin(ctx, true)
	if err != nil {
		return cs, err
	}
	err = c.claim(ctx, keys, cs[base:])
	return cs, e.end(c, len(keys), err)
}

// Commit marks the keys of all claims with Verdict Fresh and ends the claims;
// the marks are durable when it returns. Claims with another verdict are left
// alone, so a whole batch can be passed. A claim that is no longer held changes
// nothing and gives ErrLeaseLost; the others are committed all the same. A
// lease that ended is still good for one more lease, while nobody else has claimed
// the key since, were it only to release it again. An ended ctx
// stops a commit only where it has to wait: the handler's work is done.
func (e *Engine) Commit(ctx context.Context, cs ...dedup.Claim) error {
	c, err := e.enter(ctx, true)
	if err != nil {
		return err
	}
	return e.end(c, len(cs), c.commit(ctx, cs))
}

// Release gives up all claims with Verdict Fresh: their keys are fresh again at
// once. A claim that is no longer held changes nothing and gives ErrLeaseLost.
// An ended ctx does not stop it.
func (e *Engine) Release(ctx context.Context, cs ...dedup.Claim) error {
	c, err := e.enter(ctx, false)
	if err != nil {
		return err
	}
	return e.end(c, 0, c.release(cs))
}

// Extend makes the claim's lease end in d from now (0: Options.Lease, at most a
// hundred years), and returns the claim with its new end. ErrLeaseLost says that it is no longer
// held.
func (e *Engine) Extend(ctx context.Context, claim dedup.Claim, d time.Duration) (dedup.Claim, error) {
	if d < 0 {
		return claim, fmt.Errorf("engine: extend: a lease can't be %v long", d)
	}
	c, err := e.enter(ctx, false)
	if err != nil {
		return claim, err
	}
	expires := c.now + int64(min(orDefault(d, e.opts.Lease), nanotime.MaxSpan))
	if claim.Verdict != dedup.Fresh || !e.set.Extend(claim, expires) {
		e.counts.lost.Add(1)
		return claim, e.end(c, 0, fmt.Errorf("engine: extend: %w", dedup.ErrLeaseLost))
	}
	claim.Expires = e.clock.wallOf(expires)
	return claim, e.end(c, 0, nil)
}

// Snapshot writes the filters of all generations to disk, so that the next
// opening needs not rebuild them. An approximate engine's state is these files.
func (e *Engine) Snapshot(ctx context.Context) error {
	c, err := e.begin(ctx, false)
	if err != nil {
		return err
	}
	return e.end(c, 0, e.worker.do(ctx, func() error { return e.snapshot(true) }))
}

// Close ends the engine. It waits for calls under way, flushes unflushed keys if they are so
// many that the next opening would be slow (up to a second for ten million), syncs the
// journal, writes the filters and unlocks the directory. A second Close, like every call after
// the first, returns ErrClosed.
func (e *Engine) Close() error {
	e.gate.Lock()
	if e.gate.closed.Load() {
		e.gate.Unlock()
		return dedup.ErrClosed
	}
	e.gate.closed.Store(true)
	e.gate.Unlock()
	e.stopNow()
	e.running.Wait()
	return e.shut()
}

// fail makes the engine refuse everything from now on (I7).
func (e *Engine) fail(doing string, err error) {
	err = fmt.Errorf("engine: %s: %w: %w", doing, dedup.ErrFailed, err)
	if e.failure.CompareAndSwap(nil, &err) {
		e.opts.Logger.Error("firstseen stopped: open the directory again", "doing", doing, "error", err)
		e.refuseWaiting()
	}
}

// begin lets a call in, unless its context has ended. marks says that it may mark keys. Every
// call that begins must end: end unlocks the gate.
func (e *Engine) begin(ctx context.Context, marks bool) (*call, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return e.enter(ctx, marks)
}

// enter is begin for calls that end or extend a claim. The handler has done its work, or has
// failed, and ctx may have ended because a client hung up. So an ended ctx stops such a call
// only where it must wait.
func (e *Engine) enter(ctx context.Context, marks bool) (*call, error) {
	e.gate.RLock()
	if err := e.refused(marks); err != nil {
		e.gate.RUnlock()
		return nil, err
	}
	now, stepped := e.clock.look()
	if marks && stepped {
		if err := e.persistStep(ctx); err != nil {
			e.gate.RUnlock()
			return nil, fmt.Errorf("engine: noting a step of the wall: %w", err)
		}
		now = e.clock.read()
	}
	if e.window.isDue(now) {
		if err := e.rotate(ctx, now); err != nil {
			e.gate.RUnlock()
			return nil, err
		}
	}
	c := e.callPool.Get().(*call)
	c.now = now
	return c, nil
}

func (e *Engine) refused(marks bool) error {
	switch {
	case e.gate.closed.Load():
		return dedup.ErrClosed
	case e.failure.Load() != nil:
		return *e.failure.Load()
	case marks && e.diskFull.Load():
		return e.errDiskFull()
	}
	return nil
}

func (e *Engine) errDiskFull() error {
	if e.opts.MinFreeDisk < 0 {
		return fmt.Errorf("engine: %w: there is no room for a flush at %s", dedup.ErrDiskFull, e.dir)
	}
	return fmt.Errorf("engine: %w: less than %d MB are free at %s", dedup.ErrDiskFull, e.opts.MinFreeDisk>>20, e.dir)
}

// end lets a call out and notes what it cost.
func (e *Engine) end(c *call, keys int, err error) error {
	if err != nil && errors.Is(err, dedup.ErrFailed) && e.failure.Load() == nil {
		e.fail("writing the journal", err)
	}
	// Reading the clock is a tenth of a call for one key, so of small calls only one in 16
	// is measured.
	if c.calls++; keys > fewKeys || keys > 0 && c.calls%16 == 0 {
		e.counts.took(e.clock.read() - c.now)
	}
	c.reset()
	e.callPool.Put(c)
	e.gate.RUnlock()
	return err
}

func appendUnknown(vs []dedup.Verdict, n int) []dedup.Verdict {
	base := len(vs)
	if cap(vs)-base >= n {
		vs = vs[:base+n]
		clear(vs[base:])
		return vs
	}
	return append(vs, make([]dedup.Verdict, n)...)
}
