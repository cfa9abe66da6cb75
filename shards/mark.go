package shards

import (
	"encoding/binary"
	"math/bits"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
)

// mark adds the i-th key of the batch to the unflushed keys (I2: under the
// lock, so of all callers exactly one gets Fresh).
func (s *shard) mark(b *Batch, i int) error {
	form, order := b.form[i], b.order[i]
	record := b.recordOf(i)
	t, err := s.tableFor(b, form, 1)
	if err != nil {
		return err
	}
	switch t.Insert(order, s.hi(order), b.lo[i], record) {
	case keytable.Present:
		b.duplicate(s, i)
		b.Counts.Unflushed++
		return nil
	case keytable.Full:
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
// first, so that a table never holds a key whose frame lies behind its end.
func (s *shard) sealWithin(b *Batch) error {
	if err := s.logMarks(b); err != nil {
		return err
	}
	s.seal()
	return nil
}

// duplicate answers Duplicate on the strength of an unflushed key: the answer
// waits for the frame that the key is in (I1).
func (b *Batch) duplicate(s *shard, i int) {
	b.answer(i, dedup.Duplicate)
	b.Counts.Duplicate++
	b.WaitPos = max(b.WaitPos, s.pos)
}

// refreshes reports whether the call extends the window of keys that it finds.
func (s *shard) refreshes(b *Batch) bool { return s.set.c.Refresh && b.op != opLook }

// refresh marks a key in the live generation that an older one holds. Its verdict stays;
// the answer waits for the frame as a fresh key's does (I1).
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
// (I1: filter bits, then log, then the answer).
func (s *shard) logMarks(b *Batch) error {
	n := b.fresh.len()
	if n == 0 {
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

// log appends the keys in b.fresh to the log, an entry for each form.
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
// counts them.
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

// logged notes where the first frame of a table lies.
func (u *Unflushed) logged(start uint64) {
	if !u.isLogged {
		u.isLogged, u.first = true, start
	}
}
