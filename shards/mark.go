package shards

import (
	"encoding/binary"
	"math/bits"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
)

// mark adds the i-th key of the batch to the unflushed keys (I2: under the
// lock, so of all callers exactly one gets Fresh). mu is held, and must stay so until logMarks:
// from here on the table says that the key is marked, while the filter need not know it and no
// frame has it (I1).
func (s *shard) mark(b *Batch, i int) error {
	form, order := b.form[i], b.order[i]
	record := b.recordOf(i)
	t, err := s.tableFor(b, form, 1)
	if err != nil {
		return err
	}
	switch t.Insert(order, s.hi(order), b.lo[i], record) {
	case keytable.Present: // its twin in this part, which had mask 0 too, or a frame that is replayed twice
		b.duplicate(s, i)
		b.Counts.Unflushed++
		return nil
	case keytable.Full: // keys made to collide; in the new table this one finds a place
		if err := s.sealWithin(b); err != nil {
			return err
		}
		return s.mark(b, i)
	}
	s.active.keys++
	s.added++
	b.fresh.add(b, i)
	b.answer(i, dedup.Fresh)
	return nil
}

// sealWithin seals in the middle of a part: what it marked so far is logged
// first, so that a table never holds a key whose frame lies behind its end. An opening takes
// MaxPos for how far the keys of a run reach in the log, and LogTail takes first for where they
// begin. Nor could the frame be written later: its keys may lie in the table's own memory
// (marks.payload), which is the flush's from the seal on.
//
// The slot stays what it was, unlike in lockFor. Masks of the part have been read already, and
// admitPart has set bits in it.
func (s *shard) sealWithin(b *Batch) error {
	if err := s.logMarks(b); err != nil {
		return err
	}
	s.seal()
	return nil
}

// duplicate answers Duplicate on the strength of an unflushed key: the answer
// waits for the frame that the key is in (I1). Otherwise a message could be dropped as a
// duplicate, and a crash then take the mark of the first one, whose caller has no answer yet.
// If the key was marked in this part it has no frame so far: log raises WaitPos again.
func (b *Batch) duplicate(s *shard, i int) {
	b.answer(i, dedup.Duplicate)
	b.Counts.Duplicate++
	b.WaitPos = max(b.WaitPos, s.pos)
}

// refreshes reports whether the call extends the window of keys that it finds.
func (s *shard) refreshes(b *Batch) bool { return s.set.c.Refresh && b.op != opLook }

// refresh marks a key in the live generation that an older one holds. Its verdict stays;
// the answer waits for the frame as a fresh key's does (I1). The key is in two generations then,
// and the older mark goes with its own: nothing has to be moved. mu is held, and lockFor must
// have made room, since a Duplicate that refreshes takes as much as a new key.
func (s *shard) refresh(b *Batch, i int) error {
	t, err := s.tableFor(b, b.form[i], 1)
	if err != nil {
		return err
	}
	order := b.order[i]
	switch t.Insert(order, s.hi(order), b.lo[i], b.recordOf(i)) {
	case keytable.Present: // a twin's, or another call's since the first look
		b.WaitPos = max(b.WaitPos, s.pos)
		return nil
	case keytable.Full:
		if err := s.sealWithin(b); err != nil {
			return err
		}
		return s.refresh(b, i)
	}
	s.active.keys++
	s.added++
	b.fresh.add(b, i)
	b.fresh.old++
	return nil
}

// logMarks puts the newly marked keys of a part into the filter and the log
// (I1: filter bits, then log, then the answer). With the frame first, a snapshot could lose a
// key, since the engine reads the log's end without the shard's lock:
//
//  1. The key's frame is appended.
//  2. The engine reads the log's end, behind that frame, and then the filter's bits.
//  3. The key's bits are set, too late for the snapshot.
//
// An opening would take the snapshot for all that lies before that end, and not read the frame
// again: a marked key would be in no filter.
//
// It is called before mu is unlocked, after errors too (endPart).
func (s *shard) logMarks(b *Batch) error {
	n := b.fresh.len()
	if n == 0 {
		b.fresh.reset() // split may have left a payload, and inFilter
		return nil
	}
	if !b.fresh.inFilter {
		(*s.filter.Load()).AddBatch(s.slot, b.fresh.orders)
	}
	if s.larger != nil {
		s.larger.AddBatch(s.growing.live, b.fresh.orders)
		s.growing.slot[s.growing.live].keys += uint64(n)
	}
	s.live += uint64(n)
	s.slots.slot[s.slot].keys += uint64(n)
	b.Counts.Fresh += uint64(n - b.fresh.old)
	b.Counts.Refreshed += uint64(b.fresh.old)
	err := s.log(b, Mark)
	b.fresh.reset()
	return err
}

// log appends the keys in b.fresh to the log, an entry for each form: an entry says once which
// form its keys have. mu is held, which makes the log's order that of the marks: a Forget
// between two marks of a key is replayed between them. If an entry fails, those before it are in
// the log and those behind it are not; the log takes nothing more then (I7).
func (s *shard) log(b *Batch, kind Kind) error {
	forms := uint(1) << b.form[0]
	if !b.alike {
		forms = b.fresh.forms(b)
	}
	for ; forms != 0; forms &= forms - 1 {
		form := hash.Form(bits.TrailingZeros(forms))
		p, n := b.fresh.payload, b.fresh.len()
		if p == nil {
			p, n = s.payload(b, form)
			b.payload = p
		}
		r := &b.rec // field by field: an entry made beside it would be copied
		r.Kind, r.Form, r.Shard, r.Generation, r.Count, r.Now = kind, form, s.index, s.generation, n, b.now
		r.Payload, r.Alone = p, b.n == 1
		start, end, err := s.set.c.Log.Append(r)
		r.Payload = nil // it may be a table's memory
		if err != nil {
			return err
		}
		b.Logged += int(end - start)
		s.active.logged(start)
		s.pos = end
		b.WaitPos = max(b.WaitPos, end)
	}
	return nil
}

// payload makes the log's record of the keys of one form, in b.payload's memory, and
// counts them. Mostly the table's memory is the payload already. It has to be made where the
// part's keys do not lie side by side in one table, and without a store, where there are no
// tables: then the first hash word is all that a filter needs.
func (s *shard) payload(b *Batch, form hash.Form) (p []byte, n int) {
	le := binary.LittleEndian
	p = b.payload[:0]
	for k, i := range b.fresh.at {
		if b.form[i] != form {
			continue
		}
		n++
		h := s.hi(b.fresh.orders[k])
		switch {
		case s.set.c.Confirmer == nil:
			p = le.AppendUint64(p, h)
		case form.Fixed():
			p = le.AppendUint64(le.AppendUint64(p, h), b.lo[i])
		default:
			record := b.record[i]
			p = append(append(p, byte(len(record))), record...)
		}
	}
	return p, n
}

// logged notes where the first frame of a table lies. Frames of a shard ascend, so all others
// lie behind it, and the log may not be reused from there on (LogTail). mu is held.
func (u *Unflushed) logged(start uint64) {
	if !u.isLogged {
		u.isLogged, u.first = true, start
	}
}
