package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/mem"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/shards"
)

// Mode says what an answer rests on.
type Mode uint8

const (
	// Exact confirms every "maybe" of a filter with the stored keys.
	Exact Mode = iota
	// Approximate has filters and no store: a fresh key may be called Duplicate,
	// at the rate that Stats reports. A duplicate is never called Fresh.
	Approximate
)

// String returns the name of the mode in lower case.
func (m Mode) String() string { return nameOf(int(m), "exact", "approximate") }

// Sync says what a mark has survived when the call that made it returns.
type Sync uint8

const (
	// SyncAlways waits for the disk: marks survive a power loss. Calls that
	// come while one sync is under way share the next.
	SyncAlways Sync = iota
	// SyncInterval gives marks to the operating system before the answer and
	// syncs every SyncEvery: marks survive kill -9, a power loss can take the
	// last interval. The next opening says so (RecoveryStats.MayHaveLost).
	SyncInterval
	// SyncNone leaves the time of the sync to the operating system: marks
	// survive kill -9, a power loss can take any number of the newest ones.
	SyncNone
)

// String returns what follows Sync in the constant's name, in lower case.
func (s Sync) String() string { return nameOf(int(s), "always", "interval", "none") }

func nameOf(i int, names ...string) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprint(i)
}

// OnGap says what Open does with a directory of which a part is lost.
type OnGap uint8

const (
	// Refuse makes Open fail with ErrCorrupt.
	Refuse OnGap = iota
	// Report opens the directory and answers Unknown for keys that may have
	// been marked in the lost part: those that a filter knows or, where no Close or
	// Snapshot has written the filter of what was lost, every new key.
	Report
)

// Options configure an engine. The zero value of every field but Window is the
// safe default.
type Options struct {
	// Window is how long a key is remembered at least; at most it is remembered
	// for one generation's span (Window / (Generations-1)) more. At most a hundred years.
	// Required.
	Window time.Duration
	// Capacity is the number of keys expected within a window: a hint that hardly anybody
	// needs, never a limit. Without it filters, tables and the journal's ring begin small
	// and follow what comes; a directory remembers what it needed. With it they have
	// their size from the first key on. Approximate filters can't grow: there it
	// counts, 1,000,000 by default.
	Capacity uint64
	// KeyBytes is the usual length of a key in bytes, a hint as well; UUID and ULID texts
	// count as 16, the default. It sizes the journal's ring at first: four times what the
	// keys of one set of full tables take, 16 MiB at least. A ring that is half full before the
	// tables are full grows, but for one that an earlier version made, or a repair. In
	// Approximate mode the ring has 64 MiB at most.
	// With more than 16 the memory for their bytes is made resident beforehand.
	KeyBytes int
	// Generations is the number of pieces the window is forgotten in, 3 to 8:
	// more of them hold fewer keys beyond the window. Default 8.
	Generations int
	// BitsPerKey is the filters' memory for a key of the window, 8 to 64. Fewer
	// bits mean more look-ups in the store (Exact) or more wrong Duplicates
	// (Approximate). Default 24 for Sliced (1 % of fresh keys are looked up),
	// 22 for Compact.
	BitsPerKey float64
	// Shards is the number of independently locked parts, a power of two from 1
	// to 256, fixed when the directory is made. Default 16.
	Shards int
	// Filter is the kind of filter: bloom.Sliced, the fast one (default), or
	// bloom.Compact, the small one. In Approximate mode the filters are all there is:
	// Filter, BitsPerKey and Generations are fixed once they were written (Snapshot,
	// Close, a generation's end), and Capacity when the directory is made: another one
	// is ignored later.
	Filter bloom.Kind
	// Mode is Exact by default; it is fixed when the directory is made.
	Mode Mode
	// Sync is SyncAlways by default.
	Sync Sync
	// SyncEvery is the interval of SyncInterval. A sync that takes longer delays
	// the next one, and what a power loss can take grows by it. From a millisecond
	// to an hour, default 100 ms.
	SyncEvery time.Duration
	// Lease is how long a claim is held before others may have the key. It
	// should exceed the slowest handler; see also Engine.Extend. At most a hundred
	// years, default 1 minute.
	Lease time.Duration
	// MaxResult is how many bytes of a claim's result are kept with its mark at most, up to
	// 16 MiB. A longer one is not kept, and Commit and later claims of its key say
	// ErrResultTooLarge. Default 0: none are kept, and one that is given is too large. Results
	// take 5 MB of memory and a Badger directory for each generation in which some came, and
	// claims of duplicates some 10 µs each; without any nothing is spent on them.
	// Approximate mode keeps none.
	MaxResult int
	// MemoryBudget bounds filters, unflushed keys with their bytes, and what the store and the
	// heap are expected to take (96 MB), in bytes: with less memory filters say "maybe" more
	// often, and tables are smaller; callers wait for the disk rather than exceed it. Pages of
	// files are the operating system's and not counted. Default: half of what the container or
	// the machine allows, at most the larger of a quarter of it and 400 MB and 4 bytes a
	// key of Capacity. The limit of Go's collector is the program's to set.
	MemoryBudget int64
	// MinFreeDisk is the free space in bytes below which marks are refused with
	// ErrDiskFull. Default 256 MiB; negative turns the guard off.
	MinFreeDisk int64
	// UntrustedKeys routes by a keyed hash (SipHash), so that senders who choose
	// keys can't make all of them meet in one place. Costs about 20 ns a key;
	// fixed when the directory is made.
	UntrustedKeys bool
	// Refresh has a repeat extend the window: a key that Admit or Claim finds marked in an
	// older generation only is marked in the live one, too, durable before the answer and
	// once per generation. It is then remembered for Window from its last repeat on. In
	// Approximate mode the window of a key that is wrongly taken for a duplicate is
	// extended as well. It does not go with MaxResult: a result ends with the mark that it
	// was committed with. One that is given all the same is refused by Commit with
	// ErrResultTooLarge, and later claims don't repeat that.
	Refresh bool
	// Temporary says that nobody opens the directory again: no file is ever synced,
	// whatever Sync is, and a power loss can leave a directory that is refused.
	Temporary bool
	// NotBefore is how far the directory must have come: JournalStats.Durable of
	// an earlier session, kept elsewhere, for example beside the consumer's offset.
	// A directory that was restored from an older backup, or is new, fails to open
	// with ErrCorrupt; nothing inside of it can tell. 0, the default, asks for
	// nothing: what to give after a restore or a repair on purpose.
	NotBefore uint64
	// LockWait is how long Open waits for a directory that somebody else has open before it
	// gives ErrLocked: as long as the process before takes to close it in a rolling
	// deployment. Default 0: Open fails at once.
	LockWait time.Duration
	// OnGap is Refuse by default.
	OnGap OnGap
	// Logger gets what an operator should know. What its handler panics at is dropped.
	// Default: none.
	Logger *slog.Logger
	// Now is the clock, for tests. Where it panics, or says a time before 1970 or after
	// 2161, the engine's time stands still. Default time.Now.
	Now func() time.Time
}

// config is what an engine works with: the options and what no user gives.
type config struct {
	Options
	hooks
	hinted  bool       // Capacity was given: setDefaults fills the field
	loading *loadClock // the clock of Load, nil otherwise: an opening moves it to the directory's newest time
}

// hooks are set by tests: small tables and rings make flushes and waits frequent; the own
// files, Badger's apart, lie behind something that fails.
type hooks struct {
	tableKeys int           // of a shard's table, from the beginning on
	ringBytes int64         // of the journal's ring, whatever the tables take
	maxRing   int64         // with ringBytes
	resizes   bool          // tables and ring follow the stream all the same
	lastFlush uint64        // instead of the constant: Close flushes few keys, too
	workEvery time.Duration // instead of scrubEvery: merges come often
	fs        vfs.FS
	passed    func() time.Duration           // the monotonic clock, for a Now without one
	bootID    *[16]byte                      // instead of the machine's: a power cut that the kernel lives through
	phase     func(name string) (end func()) // told what begins, and by end that it is over
}

const (
	defaultCapacity    = 1_000_000
	defaultMinFreeDisk = 256 << 20
	maxShards          = 256
	maxResult          = 16 << 20
)

// withDefaults returns o with every zero field replaced, or one error that
// names every problem.
func (o config) withDefaults() (config, error) {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	o.checkBounds(bad)
	o.hinted = o.Capacity != 0
	o.setDefaults()
	o.checkSizes(bad)
	o.checkKinds(bad)
	o.checkResults(bad)
	// Before anything calls Now or the Logger.
	o.guardCalls()
	if o.fs == nil {
		o.fs = vfs.OS()
	}
	if o.Temporary {
		o.fs, o.Sync = vfs.Unsynced(o.fs), SyncNone
	}
	if len(problems) == 0 { // what follows rests on each of them
		if o.span() < minSpan {
			bad("Window %v is too short for %d generations", o.Window, o.Generations)
		}
		o.fitMemory(bad)
	}
	if len(problems) > 0 {
		return o, fmt.Errorf("engine: bad options: %w", errors.Join(problems...))
	}
	o.MemoryBudget = orDefault(o.MemoryBudget, defaultBudget(mem.Limit(), o.Capacity))
	return o, nil
}

// setDefaults replaces zero fields, but for MemoryBudget, whose default depends on others.
func (o *Options) setDefaults() {
	o.Capacity = orDefault(o.Capacity, defaultCapacity)
	o.KeyBytes = orDefault(o.KeyBytes, fixedSpace)
	o.Generations = orDefault(o.Generations, 8)
	if o.BitsPerKey == 0 {
		o.BitsPerKey = 24
		if o.Filter == bloom.Compact {
			o.BitsPerKey = 22
		}
	}
	o.SyncEvery = orDefault(o.SyncEvery, 100*time.Millisecond)
	o.Lease = orDefault(o.Lease, time.Minute)
	o.MinFreeDisk = orDefault(o.MinFreeDisk, defaultMinFreeDisk)
}

// checkSizes tells bad of what can't be sized so.
func (o *Options) checkSizes(bad func(format string, args ...any)) {
	if o.KeyBytes < 0 || o.KeyBytes > dedup.MaxKeyLen {
		bad("KeyBytes is %d, it must be from 1 to %d", o.KeyBytes, dedup.MaxKeyLen)
	}
	if o.Generations < 3 || o.Generations > 8 {
		bad("Generations is %d, it must be from 3 to 8", o.Generations)
	}
	if !(o.BitsPerKey >= 8 && o.BitsPerKey <= 64) {
		bad("BitsPerKey is %v, it must be from 8 to 64", o.BitsPerKey)
	}
	if o.Shards != 0 && (o.Shards < 0 || o.Shards > maxShards || bits.OnesCount(uint(o.Shards)) != 1) {
		bad("Shards is %d, it must be a power of two from 1 to %d", o.Shards, maxShards)
	}
	if o.LockWait < 0 {
		bad("LockWait is %v, it must not be negative", o.LockWait)
	}
}

// checkKinds tells bad of values that are none of their kind.
func (o *Options) checkKinds(bad func(format string, args ...any)) {
	if o.Filter > bloom.Compact {
		bad("Filter is %d, it must be bloom.Sliced or bloom.Compact", o.Filter)
	}
	if o.Mode > Approximate {
		bad("Mode is %d, it must be Exact or Approximate", o.Mode)
	}
	if o.Sync > SyncNone {
		bad("Sync is %d, it must be SyncAlways, SyncInterval or SyncNone", o.Sync)
	}
	if o.OnGap > Report {
		bad("OnGap is %d, it must be Refuse or Report", o.OnGap)
	}
}

// checkResults tells bad of options that results can't be kept with.
func (o *Options) checkResults(bad func(format string, args ...any)) {
	if o.MaxResult < 0 || o.MaxResult > maxResult {
		bad("MaxResult is %d, it must be from 0 to %d", o.MaxResult, maxResult)
	}
	if o.MaxResult > 0 && o.Refresh {
		bad("MaxResult is %d, with Refresh no results are kept", o.MaxResult)
	}
	if o.MaxResult > 0 && o.Mode == Approximate {
		bad("MaxResult is %d, in Approximate mode no results are kept", o.MaxResult)
	}
}

// recordBytes is what a usual key takes in the journal, its frame's header apart. A
// table whose arena is full is sealed, so longer keys than that holds don't count.
func (o Options) recordBytes() int64 {
	if o.KeyBytes <= fixedSpace {
		return fixedSpace
	}
	return min(int64(o.KeyBytes)+1, shards.ArenaPerKey)
}

// span is the length of one generation. The live one is beside the window, so that the sealed ones
// reach back a whole window when it has just begun.
func (o Options) span() time.Duration { return o.Window / time.Duration(o.Generations-1) }

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
