package shards

import (
	"encoding/binary"
	"fmt"
	"runtime"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

// Rotate makes generation the live one: unflushed keys of the one before are sealed. It
// gets a free slot of the filter, or shares the last one where there is none; without a
// store one must be free. The bits are cleared later, by Clear.
func (s *Set) Rotate(generation uint64) {
	last := uint64(0)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		last += sh.live
		sh.rotate(generation)
		sh.mu.Unlock()
	}
	s.lastKeys.Store(last)
	s.filled.Store(0)
}

func (s *shard) rotate(generation uint64) {
	s.generation, s.live = generation, 0
	s.version++
	s.seal()
	s.active.Generation = generation
	s.rotateSlot()
}

// Retire takes generations before oldest out of all answers. Their tombstones go with them.
func (s *Set) Retire(oldest uint64) {
	s.oldest.Store(oldest)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.oldest = oldest
		sh.slots.retire(oldest)
		sh.growing.retire(oldest)
		sh.held = sh.slots.used
		for i, g := range sh.lostAt {
			if g < oldest {
				sh.blind &^= 1 << i
				sh.lost &^= 1 << i
			}
		}
		for k, t := range sh.tombs {
			if t.generation < oldest {
				delete(sh.tombs, k)
			}
		}
		sh.mu.Unlock()
	}
}

// Start sets the oldest generation, at opening.
func (s *Set) Start(oldest uint64) {
	s.oldest.Store(oldest)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.oldest = oldest
		sh.mu.Unlock()
	}
}

// Oldest returns the oldest generation that counts. Its slot's bit alone does
// not say so: what an older one left behind may have the same slot.
func (s *Set) Oldest() uint64 { return s.oldest.Load() }

// Hold makes a generation count, at opening; lost says that runs of it are
// missing, blind that its filter can't be had either.
func (s *Set) Hold(generation uint64, lost, blind bool) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.assign(generation)
		mask := sh.slots.of(generation)
		for i := range sh.lostAt {
			if mask>>i&1 != 0 && (lost || blind) {
				sh.lostAt[i] = max(sh.lostAt[i], generation)
			}
		}
		if lost {
			sh.lost |= mask
		}
		if blind {
			sh.blind |= mask
		}
		sh.mu.Unlock()
	}
}

// assign gives a generation a slot, at opening, unless it has one.
func (s *shard) assign(generation uint64) {
	t := &s.slots
	switch {
	case t.of(generation) != 0:
	case s.set.c.Confirmer == nil:
		t.give(int(generation%uint64(t.n)), generation)
	case t.free() > 0:
		t.take(generation)
	default: // Share says otherwise where there are many
		t.slot[s.slot].first = min(t.slot[s.slot].first, generation)
	}
	s.held = t.used
}

// Share gives slots to the generations of a directory that is being opened, oldest first,
// with the keys that each one has; the last one is live. Where they are more than slots, several
// share one.
func (s *Set) Share(first uint64, keys []uint64) {
	total := uint64(0)
	for _, n := range keys {
		total += n
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		t := &sh.slots
		*t = newSlots(s.c.Filter)
		for k, n := range keys {
			g := first + uint64(k)
			n /= uint64(len(s.shards))
			last := &t.slot[sh.slot]
			switch {
			case s.c.Confirmer == nil:
				sh.slot = int(g % uint64(t.n))
				t.give(sh.slot, g)
			case k == 0 || t.free() >= len(keys)-k || t.free() > 0 && last.keys+n/2 > total/uint64(t.n*len(s.shards)):
				sh.slot, _ = t.take(g)
			default:
				last.last = g
			}
			t.slot[sh.slot].keys += n
		}
		for j := range t.n {
			t.slot[j].keys = 0 // Place counts them
		}
		sh.held, sh.active.Slot = t.used, sh.slot
		sh.mu.Unlock()
	}
}

// Place returns the slot for a run of so many keys, at opening; runs come by generation
// and in their order. whole says that the generation must stay in one slot.
func (s *Set) Place(shard int, generation, keys uint64, whole bool) int {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.assign(generation)
	t := &sh.slots
	slot := t.newest(generation)
	// One stays free, for the next generation.
	if !whole && t.slot[slot].keys > 0 && !t.takes(slot, keys) && t.free() > 1 {
		was := slot
		slot, _ = t.take(generation)
		if was == sh.slot && generation == sh.generation {
			sh.slot, sh.active.Slot = slot, slot
		}
	}
	t.slot[slot].keys += keys
	sh.held = t.used
	return slot
}

// Clear does a bounded piece of the work that rotations and flushes left
// behind; it reports whether there may be more.
func (s *Set) Clear() (more bool) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		if (*sh.filter.Load()).ClearStep() {
			more = true
		}
		if sh.larger != nil && sh.larger.ClearStep() {
			more = true
		}
		sh.mu.Unlock()
	}
	return s.pool.ClearOne() || more
}

// Restart makes the sequence number of a shard's active table at least seq, at
// opening.
func (s *Set) Restart(shard int, seq uint64) {
	sh := &s.shards[shard]
	sh.mu.Lock()
	sh.seq = max(sh.seq, seq)
	sh.active.Seq = sh.seq
	sh.mu.Unlock()
}

// AddTombstone lays a tombstone that a run keeps, at opening.
func (s *Set) AddTombstone(shard int, t Tombstone, seq, generation uint64) {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	k := tombKey(t.Form, t.Hi, t.Lo, t.Record)
	if old, ok := sh.tombs[k]; !ok || old.seq < seq {
		sh.tombs[k] = tombstoned{seq, generation}
	}
}

// AddOrders adds keys of one shard, by their orders, to a slot of the filter, to rebuild it.
func (s *Set) AddOrders(shard, slot int, orders []uint64) {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	(*sh.filter.Load()).AddBatch(slot, orders)
}

// Replay applies one record of the log that starts and ends at the given
// positions, at opening. Records of a shard come in the order they were logged.
func (s *Set) Replay(b *Batch, r *Record, start, end uint64) error {
	if r.Shard >= len(s.shards) {
		return fmt.Errorf("the log names shard %d of %d: %w", r.Shard, len(s.shards), dedup.ErrCorrupt)
	}
	sh := &s.shards[r.Shard]
	if err := s.decode(b, r); err != nil {
		return err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if full := s.c.Confirmer != nil && !sh.active.room(b.n, int(s.maxKeys.Load())); full || r.Generation != sh.active.Generation {
		sh.seal()
		if r.Generation == sh.generation {
			sh.followSlot()
		}
		sh.replayInto(r.Generation)
	}
	sh.replaying = end
	sh.active.logged(start)
	switch {
	case r.Kind == Forget:
		for i := range b.n {
			sh.forget(b.form[i], b.order[i], b.lo[i], b.recordOf(i))
		}
	default:
		sh.announce(r.Form, b.order)
		(*sh.filter.Load()).AddBatch(sh.active.Slot, b.order)
		sh.slots.slot[sh.active.Slot].keys += uint64(b.n)
		if s.c.Confirmer == nil {
			break
		}
		for i := range b.n {
			if err := sh.replayMark(b, i); err != nil {
				return err
			}
		}
	}
	sh.active.logged(start)
	sh.pos, sh.replaying = end, 0
	return nil
}

// replayMark is mark without an answer; a full table is sealed without a log.
func (s *shard) replayMark(b *Batch, i int) error {
	b.fresh.reset() // nothing to log: it came from there
	generation, slot := s.active.Generation, s.active.Slot
	err := s.mark(b, i)
	s.active.Generation, s.active.Slot = generation, slot
	return err
}

// replayInto makes the active table, which is empty, one of a generation.
func (s *shard) replayInto(generation uint64) {
	s.assign(generation)
	s.active.Generation = generation
	if s.active.Slot = s.slot; generation != s.generation {
		s.active.Slot = s.slots.newest(generation)
	}
}

// EndReplay leaves every shard's active table to the live generation.
func (s *Set) EndReplay() {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		if sh.active.Generation != sh.generation {
			sh.seal()
			sh.active.Generation, sh.active.Slot = sh.generation, sh.slot
		}
		sh.mu.Unlock()
	}
}

// decode fills b with the keys of a record. A record that no engine writes is
// damage that the log's checksums did not see.
func (s *Set) decode(b *Batch, r *Record) error {
	if r.Kind >= NoKind || r.Form >= hash.Forms || r.Count < 0 || r.Count > len(r.Payload) {
		return fmt.Errorf("a record of kind %d, form %d and %d keys in %d bytes: %w", r.Kind, r.Form, r.Count, len(r.Payload), dedup.ErrCorrupt)
	}
	b.grow(r.Count)
	b.fixed = r.Form.Fixed()
	b.Out = append(b.out[:0], make([]dedup.Verdict, r.Count)...)
	b.out = b.Out
	if !b.fixed {
		b.record = append(b.record[:0], make([][]byte, r.Count)...)
	}
	le := binary.LittleEndian
	p := r.Payload
	short := fmt.Errorf("a record of %d keys of form %d has %d bytes: %w", r.Count, r.Form, len(r.Payload), dedup.ErrCorrupt)
	for i := range r.Count {
		var h uint64
		b.lo[i], b.form[i], b.at[i] = 0, r.Form, int32(i)
		switch {
		case s.c.Confirmer == nil:
			if len(p) < 8 {
				return short
			}
			h, p = le.Uint64(p), p[8:]
		case b.fixed:
			if len(p) < 16 {
				return short
			}
			h, b.lo[i], p = le.Uint64(p), le.Uint64(p[8:]), p[16:]
		default:
			if len(p) < 1 || len(p) < 1+int(p[0]) {
				return short
			}
			b.record[i] = p[1 : 1+int(p[0])]
			p = p[1+len(b.record[i]):]
			h = s.c.Hasher.Record(b.record[i])
		}
		if h>>(64-s.shardBits) != uint64(r.Shard) {
			return fmt.Errorf("a record of shard %d holds a key of another shard: %w", r.Shard, dedup.ErrCorrupt)
		}
		b.order[i] = h << s.shardBits
	}
	if len(p) != 0 {
		return short
	}
	return nil
}

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

// SlotBytes returns the size of one shard's and generation's bits.
func (s *Set) SlotBytes() int { return (*s.shards[0].filter.Load()).SlotBytes() }

// Hashes returns the number of bits that a key sets.
func (s *Set) Hashes() int { return (*s.shards[0].filter.Load()).Hashes() }

// Pos returns the log position behind the last frame of a shard.
func (s *Set) Pos(shard int) uint64 {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.pos
}
