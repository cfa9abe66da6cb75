package shards

import (
	"encoding/binary"
	"fmt"
	"runtime"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

// Rotate makes generation the live one: unflushed keys of the one before are
// sealed, the filter's slot, whose generation must have been retired, is empty.
// The bits are cleared later, by Clear.
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
}

func (s *shard) rotate(generation uint64) {
	s.generation, s.slot, s.live = generation, s.set.Slot(generation), 0
	s.held |= 1 << s.slot
	s.blind &^= 1 << s.slot // of the slot's former generation
	s.lost &^= 1 << s.slot
	s.version++
	s.seal()
	s.active.Generation = generation
	(*s.filter.Load()).Reset(s.slot)
	if s.larger != nil {
		s.larger.Reset(s.slot)
	}
}

// Retire takes generations before oldest out of all answers: only those whose
// slots are in held count from now on. Their tombstones go with them.
func (s *Set) Retire(held uint8, oldest uint64) {
	s.oldest.Store(oldest)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.held, sh.oldest = held, oldest
		sh.blind &= held
		sh.lost &= held
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
	bit := uint8(1) << s.Slot(generation)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.held |= bit
		if lost {
			sh.lost |= bit
		}
		if blind {
			sh.blind |= bit
		}
		sh.mu.Unlock()
	}
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
	return s.pool.cleanOne() || more
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

// AddOrders adds keys of one shard, by their orders, to the filter, to rebuild it.
func (s *Set) AddOrders(shard int, generation uint64, orders []uint64) {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	(*sh.filter.Load()).AddBatch(s.Slot(generation), orders)
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
	if r.Generation != sh.active.Generation {
		sh.seal()
		sh.active.Generation = r.Generation
	}
	if s.c.Confirmer != nil && !sh.active.room(b.n, int(s.maxKeys.Load())) {
		sh.seal()
		sh.active.Generation = r.Generation
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
		(*sh.filter.Load()).AddBatch(s.Slot(r.Generation), b.order)
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
	generation := s.active.Generation
	err := s.mark(b, i)
	s.active.Generation = generation
	return err
}

// EndReplay leaves every shard's active table to the live generation.
func (s *Set) EndReplay() {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		if sh.active.Generation != sh.generation {
			sh.seal()
			sh.active.Generation = sh.generation
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

// Column copies the bits of one generation and shard. The copy of the live
// generation is made piece by piece with the lock held for each: it holds every
// key that was marked before the call and some of those marked during it.
func (s *Set) Column(shard int, generation uint64, dst []byte) []byte {
	const piece = 4 << 10 // of a column: 32 KiB of a filter's lines, some µs under the lock
	sh := &s.shards[shard]
	slot := s.Slot(generation)
	sh.lockLater()
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
	f.MergeSlot(s.Slot(generation), 0, column)
	return nil
}

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
