package shards

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
)

// A shard is one part of the hash space. mu guards everything but the two
// pointers that prefetch reads.
type shard struct {
	set   *Set
	index int

	// filter and hint are read without mu by prefetch alone, for which a stale address is
	// good enough. They are stored with mu held; whoever holds mu may use what it loads.
	filter atomic.Pointer[filter]
	hint   [hash.Forms]atomic.Pointer[keytable.Table] // the active tables

	mu         sync.Mutex
	generation uint64 // the live one
	slots      slots
	slot       int          // of the filter, that marks go to
	active     *Unflushed   // takes the marks
	sealed     []*Unflushed // wait for their flush, oldest first
	larger     filter       // not nil while the filter is rebuilt: gets every mark too
	growing    growing      // what lies where in larger
	claims     claims
	tombs      map[string]tombstoned
	pos        uint64 // log position behind the shard's last frame
	replaying  uint64 // log position behind the frame that is being replayed, 0 if none
	seq        uint64 // of the active table: a tombstone overrides tables and runs below it
	version    uint64 // counts changes of the runs and of the live generation, see secondLook
	added      uint64 // counts keys put into the tables and the claims, see decideConfirmed
	live       uint64 // keys marked in the live generation
	sweepAt    int
	inUse      uint8                        // slots that hold generations of the window: others are masked out
	lostAt     [bloom.MaxGenerations]uint64 // newest generation with a gap in each slot
	oldest     uint64                       // generation of the window: what is in older ones is out of all answers
	blind      uint8                        // slots whose filter is lost: every key is "maybe"
	lost       uint8                        // slots whose runs are incomplete: a "maybe" that is not found is Unknown
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

func (s *shard) newActive() {
	s.active = &Unflushed{Shard: s.index, Generation: s.generation, Slot: s.slot, Seq: s.seq}
	for f := range s.hint {
		s.hint[f].Store(nil)
	}
}

func (u *Unflushed) empty() bool { return u.keys == 0 && len(u.Tombstones) == 0 }
