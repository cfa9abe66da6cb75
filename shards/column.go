package shards

import (
	"fmt"
	"runtime"
)

// Column copies the bits of one generation and shard, which must be in one slot (Whole); those
// of other generations in that slot come with them. The copy of the live
// generation is made piece by piece with the lock held for each: it holds every
// key that was marked before the call and some of those marked during it.
func (s *Set) Column(shard int, generation uint64, dst []byte) []byte {
	const piece = 4 << 10 // of a column: 32 KiB of a filter's lines, some µs under the lock
	sh := &s.shards[shard]
	sh.lockLater()
	slot := sh.column(generation)
	n := (*sh.filter.Load()).SlotBytes()
	sh.mu.Unlock()
	dst = append(dst[:0], make([]byte, n)...)
	for off := 0; off < n; off += piece {
		sh.lockLater()
		(*sh.filter.Load()).ReadSlot(slot, off, dst[off:min(off+piece, n)])
		sh.mu.Unlock()
		runtime.Gosched()
	}
	return dst
}

// MergeColumn adds the bits of a snapshot to a generation, at opening.
func (s *Set) MergeColumn(shard int, generation uint64, column []byte) error {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f := *sh.filter.Load()
	if len(column) != f.SlotBytes() {
		return fmt.Errorf("a snapshot's column has %d bytes, the filter's %d", len(column), f.SlotBytes())
	}
	f.MergeSlot(sh.column(generation), 0, column)
	return nil
}

// column is the slot of a generation that has one: see Whole.
func (s *shard) column(generation uint64) int { return s.slots.newest(generation) }

// SlotBytes returns the size of one shard's and generation's bits. It speaks for all shards only
// where Whole has said so, or at opening, and must not overlap with Grow.
func (s *Set) SlotBytes() int { return (*s.shards[0].filter.Load()).SlotBytes() }

// Hashes returns the number of bits that a key sets.
func (s *Set) Hashes() int { return (*s.shards[0].filter.Load()).Hashes() }
