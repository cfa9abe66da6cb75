package shards

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
)

// A Kind says what a record of the log does.
type Kind uint8

const (
	Mark   Kind = iota // the keys are remembered
	Forget             // all marks so far of the keys are taken back
	NoKind             // what no engine writes
)

// A LogEntry is what a shard hands to the log: keys of one form, marked or forgotten in one
// generation. Per key the payload holds both hash words for the fixed forms (16 bytes, little
// endian), a length byte and the record for the others, and the first word without a store.
type LogEntry struct {
	Kind       Kind
	Form       hash.Form
	Shard      int
	Generation uint64
	Count      int
	Now        int64 // ns of the engine's clock
	Payload    []byte
	Alone      bool // it is the only entry of its call, which waits for it right away
}

// A Log orders marks and makes them durable. Append is called with a shard locked, so it must
// not wait (I8); that also makes the log's order the order in which a shard's keys were marked.
// The payload may be reused once it returns.
type Log interface {
	Append(r *LogEntry) (start, end uint64, err error)
}

// A Confirmer looks for keys in the runs of their shards. It sets Found and Seq of
// each pending key that a run of the asked generations holds. No lock is held.
type Confirmer interface {
	// Offer tells what is pending of a batch that is still being decided, more from call
	// to call. Those keys stay where they are, so it may begin with them, in other
	// goroutines too, until Confirm, which always follows, has returned.
	Offer(b *Batch, pending []Pending)
	Confirm(b *Batch, pending []Pending) error
}

// Config describes a Set. Every field without "may" is required.
type Config struct {
	Shards      int // a power of two up to MaxShards
	Hasher      *hash.Hasher
	Kind        bloom.Kind
	Filter      bloom.Config // of one shard
	Generation  uint64       // the live one
	Generations int
	Log         Log
	Confirmer   Confirmer // nil without a store: then a "maybe" is a Duplicate
	MaxKeys     int       // unflushed keys of a shard's table before it is sealed, less than keytable.MaxKeys by MaxPart
	MaxSealed   int       // sealed tables of all shards beside which there is memory for active ones: with more callers wait
	Refresh     bool      // a call that may mark also marks, in the live generation, a key that only older ones hold
	Nonce       uint64    // start of the claims' numbers; may differ at each opening
	Sealed      func()    // called with a shard locked when a table was sealed: must not wait
}

// A Set is all shards. See the package's documentation.
type Set struct {
	c         Config
	shardBits uint
	shards    []shard
	pool      keytable.Pool
	nonce     atomic.Uint64         // of the last token
	nSealed   atomic.Int64          // sealed tables that are not published yet
	oldest    atomic.Uint64         // generation: those before it are out of the window
	maxKeys   atomic.Int64          // see Config.MaxKeys
	filled    atomic.Int64          // see Filled
	lastKeys  atomic.Uint64         // see LastKeys
	records   atomic.Bool           // see HasRecords
	refusal   atomic.Pointer[error] // what calls that wait for room get, see Refuse
	waits     atomic.Uint64         // see Waits

	queue struct {
		sync.Mutex
		tables []*Unflushed
		room   chan struct{} // closed and renewed when a table leaves
	}
}

// NewSet returns a set with empty filters and one live generation.
func NewSet(c Config) (*Set, error) {
	s := &Set{c: c, shardBits: uint(bits.TrailingZeros(uint(c.Shards))), shards: make([]shard, c.Shards)}
	s.queue.room = make(chan struct{})
	s.nonce.Store(c.Nonce)
	_ = s.SetMaxKeys(c.MaxKeys, 0) // makes nothing, so nothing fails
	s.pool.SetLimit((TableSets - 1) * c.Shards)
	for i := range s.shards {
		f, err := newFilter(c.Kind, c.Filter)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.shards[i].init(s, i, f)
	}
	return s, nil
}

// Slots returns the filter's slots that hold a generation's keys in any shard, as bits.
func (s *Set) Slots(generation uint64) (mask uint8) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		mask |= sh.slots.of(generation)
		sh.mu.Unlock()
	}
	return mask
}

// Whole reports whether each shard has all of a generation's keys in one slot, and all slots
// are of one size, so that Column gives its bits. A growth that failed half way leaves filters
// of two sizes.
func (s *Set) Whole(generation uint64) bool {
	size := s.SlotBytes()
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		n, bytes := bits.OnesCount8(sh.slots.of(generation)), (*sh.filter.Load()).SlotBytes()
		sh.mu.Unlock()
		if n != 1 || bytes != size {
			return false
		}
	}
	return true
}

// Crowded reports whether the filter is too small: more than a quarter of the shards have far
// more keys in some slot than it is made for, because none is free or because one table holds
// more than a slot.
func (s *Set) Crowded() bool {
	crowded := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		if sh.slots.crowded() {
			crowded++
		}
		sh.mu.Unlock()
	}
	return 4*crowded > len(s.shards)
}

// Route fills b with keys, at most MaxPart of valid length, and prefetches the filter lines and
// table rows of the first shards, which come while the caller reserves room in the journal.
// Those of the other shards follow while keys are decided. Prefetching makes 17 M keys/s of 8.
func (s *Set) Route(b *Batch, keys [][]byte) {
	b.route(s.c.Hasher, keys, s.shardBits)
	if b.n == 1 {
		s.shards[b.single].prefetch(b.form[0], b.order)
		return
	}
	for i := range min(shardsAhead, len(s.shards)) {
		if from, to := b.part(i); from < to {
			s.shards[i].prefetch(b.form[from], b.order[from:to])
		}
	}
}

// Close frees the memory. No call may be under way or follow.
func (s *Set) Close() {
	for i := range s.shards {
		sh := &s.shards[i]
		if f := sh.filter.Load(); f != nil {
			(*f).Close()
		}
		if sh.active == nil {
			continue
		}
		for _, u := range append(sh.sealed, sh.active) {
			for _, t := range u.tables {
				t.Free()
			}
		}
	}
	s.pool.Close()
}

// Order returns a hash without its shard's bits, the place of a key within its
// shard.
func (s *Set) Order(hash uint64) uint64 { return hash << s.shardBits }

// Hash is the inverse of Order: the hash of a key of the shard.
func (s *Set) Hash(shard int, order uint64) uint64 { return wholeHash(order, shard, s.shardBits) }
