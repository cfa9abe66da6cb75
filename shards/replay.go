package shards

import (
	"encoding/binary"
	"fmt"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

// Replay applies one record of the log that starts and ends at the given
// positions, at opening. Records of a shard come in the order they were logged.
//
// A record may be applied twice, by this opening and by one before, since a mark that is there
// changes nothing. A record whose table is full in its middle makes use of that:
//
//  1. replaying is the record's end, and the table notes its start.
//  2. The table is sealed within the record. Its End is the end of the record before, so its run
//     covers only what lies before this one. Its MaxPos is this record's end, since it has keys
//     of it.
//  3. The rest goes into the next table, which notes the record's start too: LogTail must not
//     pass the record before both tables are runs.
//  4. If only the first table is flushed before the next opening, that one applies the whole record
//     again. The first keys are in a run and in a table then, which does no harm.
func (s *Set) Replay(b *Batch, r *LogEntry, start, end uint64) error {
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
		sh.prefetch(b, 0, b.n)
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

// replayMark is mark without an answer; a full table is sealed without a log. The table that
// takes its place is made for the live generation, and is given back to the record's own.
func (s *shard) replayMark(b *Batch, i int) error {
	b.fresh.reset() // nothing to log: it came from there
	generation, slot := s.active.Generation, s.active.Slot
	err := s.mark(b, i)
	s.active.Generation, s.active.Slot = generation, slot
	return err
}

// replayInto makes the active table, which is empty, one of a generation. Only in a replay may
// that be a sealed one: the window is restored before frames of its older generations are read.
// mu is held.
func (s *shard) replayInto(generation uint64) {
	s.assign(generation)
	s.active.Generation = generation
	if s.active.Slot = s.slot; generation != s.generation {
		s.active.Slot = s.slots.newest(generation)
	}
}

// EndReplay leaves every shard's active table to the live generation, as all calls expect it. It
// comes after the last Replay and before the first call.
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
// damage that the log's checksums did not see. Everything is checked before the shard changes. A
// count is held against the payload before memory is made for it: each key takes a byte or more.
func (s *Set) decode(b *Batch, r *LogEntry) error {
	if r.Kind >= NoKind || r.Form >= hash.Forms || r.Count < 0 || r.Count > len(r.Payload) {
		return fmt.Errorf("a record of kind %d, form %d and %d keys in %d bytes: %w", r.Kind, r.Form, r.Count, len(r.Payload), dedup.ErrCorrupt)
	}
	b.resize(r.Count)
	b.fixed = r.Form.Fixed()
	b.Out = append(b.out[:0], make([]dedup.Verdict, r.Count)...)
	b.out = b.Out
	if !b.fixed {
		b.record = append(b.record[:0], make([][]byte, r.Count)...)
	}
	p, ok := r.Payload, true
	for i := range r.Count {
		b.lo[i], b.form[i], b.at[i] = 0, r.Form, int32(i)
		var h uint64
		if h, p, ok = s.decodeKey(b, i, p); !ok {
			break
		}
		if h>>(64-s.shardBits) != uint64(r.Shard) {
			return fmt.Errorf("a record of shard %d holds a key of another shard: %w", r.Shard, dedup.ErrCorrupt)
		}
		b.order[i] = h << s.shardBits
	}
	if !ok || len(p) != 0 {
		return fmt.Errorf("a record of %d keys of form %d has %d bytes: %w", r.Count, r.Form, len(r.Payload), dedup.ErrCorrupt)
	}
	return nil
}

// decodeKey reads the i-th key of a payload. It returns its hash and the rest of the payload,
// which is not ok where it ends within the key.
func (s *Set) decodeKey(b *Batch, i int, p []byte) (h uint64, rest []byte, ok bool) {
	le := binary.LittleEndian
	switch {
	case s.c.Confirmer == nil:
		if len(p) < 8 {
			return 0, nil, false
		}
		return le.Uint64(p), p[8:], true
	case b.fixed:
		if len(p) < 16 {
			return 0, nil, false
		}
		b.lo[i] = le.Uint64(p[8:])
		return le.Uint64(p), p[16:], true
	}
	if len(p) < 1 || len(p) < 1+int(p[0]) {
		return 0, nil, false
	}
	b.record[i] = p[1 : 1+int(p[0])]
	return s.c.Hasher.Record(b.record[i]), p[1+len(b.record[i]):], true
}
