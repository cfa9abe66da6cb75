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
	NoKind             // what no engine writes: Replay refuses it as damage
)

// A LogEntry is what a shard hands to the log: keys of one form, marked or forgotten in one
// generation. Per key the payload holds both hash words for the fixed forms (16 bytes, little
// endian), a length byte and the record for the others, and the first word without a store.
type LogEntry struct {
	Kind  Kind
	Form  hash.Form
	Shard int
	// Generation is the one that the shard marked the keys in. The log's order does not tell:
	// while a rotation goes from shard to shard, frames of both generations mix.
	Generation uint64
	Count      int
	Now        int64 // ns of the engine's clock
	Payload    []byte
	Alone      bool // it is the only entry of its call, which waits for it right away
}

// A Log orders marks and makes them durable. Append is called with a shard locked, so it must
// not wait (I8); that also makes the log's order the order in which a shard's keys were marked.
// The payload is often the memory of a table and may be reused once Append returns, so it has
// to be copied. Start and end are the positions of the frame. An error is final (I7): the keys
// are in filter and table already, so a log that went on would answer Duplicate for keys that
// it does not have.
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
	// Confirm may be called again with some of the keys, those of a shard whose version has
	// changed, after they were reset to not found.
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
	MaxKeys     int       // unflushed keys of a shard's table before it is sealed, less than keytable.MaxKeys by MaxPiece
	MaxSealed   int       // sealed tables of all shards beside which there is memory for active ones: with more callers wait
	Refresh     bool      // a call that may mark also marks, in the live generation, a key that only older ones hold
	Nonce       uint64    // start of the claims' numbers; random, so that no token of an earlier opening ends a claim (I6)
	Sealed      func()    // called with a shard locked when a table was sealed: must not wait
}

// A Set is all shards. See the package's documentation.
type Set struct {
	c         Config // as NewSet got it, whatever SetMaxKeys has changed since
	shardBits uint
	shards    []shard
	pool      keytable.Pool // has a mutex of its own, which is taken with a shard locked
	// nonce is the number of the last token. A call takes a number for each of its keys at
	// once, so no two claims of a process have the same (I6).
	nonce atomic.Uint64
	// nSealed counts the sealed tables that are not published yet. It is raised with the shard
	// locked, and lowered before wakeRoom: whoever that wakes reads the lower count.
	nSealed atomic.Int64
	// oldest is the oldest generation of the window, for who holds no lock. Decisions go by the
	// shard's own copy, which changes together with its slots.
	oldest atomic.Uint64
	// maxKeys is Config.MaxKeys as it is now. SetMaxKeys may change it between two readings
	// within a part: growTable expects a table that is larger than a full one is by then.
	maxKeys  atomic.Int64
	filled   atomic.Int64  // see Filled
	lastKeys atomic.Uint64 // see LastKeys
	records  atomic.Bool   // see HasRecords; never false again
	// refusal is what calls that wait for room get, or nil. It is stored before wakeRoom, so
	// whoever that wakes reads it. See Refuse.
	refusal atomic.Pointer[error]
	waits   atomic.Uint64 // see Waits

	// queue is locked for a few instructions, also with a shard locked. Nothing else may be
	// locked under it.
	queue struct {
		sync.Mutex
		tables []*Unflushed // sealed ones that nobody has taken, in the order of their seals
		// room is closed and renewed when a table leaves: closing it wakes everybody who took
		// it before. See waitRoom.
		room chan struct{}
	}
}

// NewSet returns a set with empty filters and one live generation.
func NewSet(c Config) (*Set, error) {
	s := &Set{c: c, shardBits: uint(bits.TrailingZeros(uint(c.Shards))), shards: make([]shard, c.Shards)}
	s.queue.room = make(chan struct{})
	s.nonce.Store(c.Nonce)
	_ = s.SetMaxKeys(c.MaxKeys, 0)              // makes nothing, so nothing fails
	s.pool.SetLimit((TableSets - 1) * c.Shards) // the last set is in use: it is the active tables
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

// Slots returns the filter's slots that hold a generation's keys in any shard, as bits. Shards
// hand out slots on their own, so the same bit may be another generation's in another shard:
// the answer is good for statistics only.
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
// of two sizes. Only the live generation takes further slots: a sealed one that is whole stays so.
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

// Route fills b with keys, at most MaxPiece of valid length, and prefetches the filter lines and
// table rows of the first shards, which come while the caller reserves room in the journal.
// Those of the other shards follow while keys are decided. Prefetching makes 17 M keys/s of 8.
func (s *Set) Route(b *Batch, keys [][]byte) {
	b.route(s.c.Hasher, keys, s.shardBits)
	if b.n == 1 {
		s.shards[b.single].prefetch(b, 0, 1)
		return
	}
	for i := range min(shardsAhead, len(s.shards)) {
		from, to := b.part(i)
		s.shards[i].prefetch(b, from, to)
	}
}

// Close frees the memory. No call may be under way or follow, which is why it locks nothing. It
// also ends a set that NewSet has made in part, where shards have neither filter nor table.
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

// Order returns a hash without its shard's bits, the place of a key within its shard. What
// places by hash there must use it: within a shard those bits are the same for all keys, and
// most places would stay empty.
func (s *Set) Order(hash uint64) uint64 { return hash << s.shardBits }

// Hash is the inverse of Order: the hash of a key of the shard.
func (s *Set) Hash(shard int, order uint64) uint64 { return wholeHash(order, shard, s.shardBits) }
