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

	filter atomic.Pointer[filter]                     // swapped under mu
	hint   [hash.Forms]atomic.Pointer[keytable.Table] // the active tables, for prefetch only

	mu         sync.Mutex
	generation uint64
	slots      slots
	slot       int // that gets the marks
	active     *Unflushed
	sealed     []*Unflushed // oldest first
	larger     filter       // while the filter is rebuilt: gets every mark too
	growing    growing      // what lies where in it
	claims     claims
	tombs      map[string]tombstoned
	pos        uint64 // log position behind the shard's last frame
	replaying  uint64 // log position behind the frame that is being replayed, 0 if none
	seq        uint64 // of the active table
	version    uint64 // counts changes of the runs and of the live generation
	added      uint64 // counts keys put into the tables and the claims
	live       uint64 // keys marked in the live generation
	sweepAt    int
	held       uint8                        // slots that count: those in use
	lostAt     [bloom.MaxGenerations]uint64 // newest generation with a gap in each slot
	oldest     uint64                       // generation that counts
	blind      uint8                        // slots whose filter is lost: every key is "maybe"
	lost       uint8                        // slots whose runs are incomplete: a "maybe" that is not found is Unknown
}

func (s *shard) init(set *Set, index int, f filter) {
	s.set, s.index = set, index
	s.filter.Store(&f)
	s.generation, s.slots = set.c.Generation, newSlots(set.c.Filter)
	s.tombs = map[string]tombstoned{}
	s.claims.free = -1
	s.seq = 1
	s.newActive()
	s.beginSlot()
}

// lockLater is Lock for background work. It never queues: a mutex that somebody
// has waited for over 1 ms is handed over at every unlock, and a caller that
// hands it over loses its processor to the background for milliseconds.
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
