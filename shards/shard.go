package shards

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
)

// A shard is one part of the hash space. mu guards everything but set and index, which init
// sets for good, and the pointers that prefetch reads. It is held for a part of a batch or for
// a piece of background work, and never across I/O (I8). Whoever holds it may take set.queue,
// the pool's mutex or the journal's, but no other shard's and none of the store's (DESIGN.md,
// Locks).
type shard struct {
	set   *Set
	index int

	// filter and hint are read without mu by prefetch, for which a stale address is good
	// enough; and filter for its size, by an opening and by the worker, which alone replaces it. They are stored with mu held; whoever holds mu may use what it loads.
	filter atomic.Pointer[filter]
	hint   [hash.Forms]atomic.Pointer[keytable.Table] // the active tables

	mu sync.Mutex
	// generation is the live one. A rotation goes from shard to shard, so others may be one
	// ahead or behind: each frame names the generation of its marks.
	generation uint64
	slots      slots
	// slot of the filter is where marks go. It must not change within a part: a table is only
	// asked for keys whose mask has its slot, so a key whose bit and whose table differ in the
	// slot would be lost (I1). It changes in lockFor, in a rotation and in Grow.
	slot   int
	active *Unflushed // takes the marks; never nil once init is done
	// sealed wait for their flush, oldest first. Several may hold a key, after a Forget or a
	// refresh: the newest decides.
	sealed []*Unflushed
	// larger is not nil while Grow rebuilds the filter. It gets every mark too, and nothing is
	// asked of it until it takes the filter's place.
	larger  filter
	growing growing // what lies where in larger
	claims  claims
	// tombs has all tombstones of the window by tombKey, also those that have become runs: the
	// Confirmer knows nothing of them, so this is the only place that is asked.
	tombs map[string]tombstoned
	// pos is the log position behind the shard's last frame. Nothing says which frame a key is
	// in, so an answer that rests on an unflushed key waits for all of them (I1).
	pos       uint64
	replaying uint64 // log position behind the frame that is being replayed, 0 if none
	seq       uint64 // of the active table: a tombstone overrides tables and runs below it
	// version counts what makes a mask or an answer of the runs worthless that was had before:
	// Published, Install, Grow and rotations raise it under mu. See secondLook.
	version uint64
	// added counts the keys that were put into the tables and the claims. It never goes down,
	// so two equal readings under mu say that no key came in between. See decideConfirmed.
	added   uint64
	live    uint64 // keys marked in the live generation
	sweepAt int    // slot of claims at which the next piece of Sweep begins
	// inUse is the slots that hold generations of the window. A slot's bits outlive its
	// generations, so every mask is cut to these: what is retired must not say "maybe" (I4).
	inUse uint8
	// lostAt is the newest generation with a gap in each slot. The slot's bits in blind and lost
	// go with that one, and not with older ones that share the slot.
	lostAt [bloom.MaxGenerations]uint64
	oldest uint64 // generation of the window: what is in older ones is out of all answers
	blind  uint8  // slots whose filter is lost: every key is "maybe"
	lost   uint8  // slots whose runs are incomplete: a "maybe" that is not found is Unknown
}

func (s *shard) init(set *Set, index int, f filter) {
	s.set, s.index = set, index
	s.filter.Store(&f)
	s.generation, s.slots = set.c.Generation, newSlots(set.c.Filter)
	s.tombs = map[string]tombstoned{}
	s.claims.spare.most = spareBytes / set.c.Shards
	s.seq = 1
	s.newActive()
	s.beginSlot()
}

// lockLater is Lock for background work. It never queues for the lock: once somebody has
// waited for a sync.Mutex for over 1 ms, each unlock hands it over to the next waiter, and a
// caller that hands it over loses its processor to the background for milliseconds.
func (s *shard) lockLater() {
	for !s.mu.TryLock() {
		runtime.Gosched()
	}
}

// newActive begins a table for the live generation. It gets memory when its first key comes
// (tableFor). The hints go before that memory can be recycled; a prefetch that has read one
// already brings in lines that nobody wants. mu is held.
func (s *shard) newActive() {
	s.active = &Unflushed{Shard: s.index, Generation: s.generation, Slot: s.slot, Seq: s.seq}
	for f := range s.hint {
		s.hint[f].Store(nil)
	}
}

// empty reports whether there is nothing to flush. Tombstones alone are something: their frames
// keep room in the log until a run has them.
func (u *Unflushed) empty() bool { return u.keys == 0 && len(u.Tombstones) == 0 }
