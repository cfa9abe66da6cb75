package shards

import (
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

// one decides what memory can tell of one key; mask is the slots of the filter that may
// hold it. This is the whole decision, in an order that matters: a key that is claimed is in
// no table, and a table is newer than any run. together takes the same steps for many keys
// at once.
func (s *shard) one(b *Batch, i int, mask uint8) error {
	b.mask[i] = mask
	switch {
	case s.heldBy(b, i):
		return nil
	case mask == 0: // only this very part can have marked it, which mark finds
		return s.absent(b, i)
	case s.inActive(b, i):
		return s.known(b, i, s.active)
	}
	return s.older(b, i, mask)
}

// older decides a key that may be there, but neither as a claim nor in the active table.
func (s *shard) older(b *Batch, i int, mask uint8) error {
	if u := s.inSealed(b, i, mask); u != nil {
		return s.known(b, i, u)
	}
	b.pending = append(b.pending, Pending{I: int32(i), Shard: uint16(s.index), Mask: mask})
	return nil
}

// each decides a part key by key.
func (s *shard) each(b *Batch, from, to int) error {
	filter := *s.filter.Load()
	filter.MaybePrefetched(b.mask[from:to], b.order[from:to], &b.next)
	seq := s.seq
	for i := from; i < to; i++ {
		if s.seq != seq {
			// The table was sealed on the way: what this part marked before is not in
			// the active one any more, but in the filter.
			seq = s.seq
			filter.MaybePrefetched(b.mask[i:to], b.order[i:to], nil)
		}
		if err := s.one(b, i, (b.mask[i]|s.blind)&s.held); err != nil {
			return err
		}
	}
	return nil
}

// heldBy reports whether somebody holds a claim of the key, and answers InFlight then. A
// claim whose lease is over ends here. Look knows no claims.
func (s *shard) heldBy(b *Batch, i int) bool {
	if s.claims.live == 0 || b.op == opLook {
		return false
	}
	at := s.claims.find(b.form[i], b.order[i], b.lo[i], b.recordOf(i))
	if at < 0 {
		return false
	}
	c := &s.claims.slots[at]
	if c.expires <= b.now && !c.pinned {
		s.claims.remove(at)
		b.Counts.Expired++
		return false
	}
	b.answer(i, dedup.InFlight)
	b.Counts.InFlight++
	if b.op == opHold {
		to := &b.claims[b.at[i]]
		to.Verdict, to.Expires = dedup.InFlight, unixNano(c.expires)
	}
	return true
}

// known answers for a key that an unflushed table holds.
func (s *shard) known(b *Batch, i int, u *Unflushed) error {
	b.duplicate(s, i)
	b.Counts.Unflushed++
	if b.Marked != nil {
		b.Marked[b.at[i]] = u.Generation
	}
	if u.Generation != s.generation && s.refreshes(b) {
		return s.refresh(b, i)
	}
	return nil
}

// inActive reports whether the active table holds a key.
func (s *shard) inActive(b *Batch, i int) bool {
	order := b.order[i]
	return s.active.has(b.form[i], order, s.hi(order), b.lo[i], b.recordOf(i))
}

// inSealed returns the newest sealed table that holds a key, or nil.
func (s *shard) inSealed(b *Batch, i int, mask uint8) *Unflushed {
	form, order, lo, record := b.form[i], b.order[i], b.lo[i], b.recordOf(i)
	h := s.hi(order)
	for k := len(s.sealed) - 1; k >= 0; k-- {
		u := s.sealed[k]
		if s.asks(u, mask) && u.has(form, order, h, lo, record) {
			if s.tombstoned(form, h, lo, record, u.Seq) {
				return nil
			}
			return u
		}
	}
	return nil
}

// asks reports whether a sealed table has to be looked into for a key that only
// the slots of mask may hold.
func (s *shard) asks(u *Unflushed, mask uint8) bool {
	return u.Generation >= s.oldest && mask&(1<<u.Slot) != 0
}

// tombstoned reports whether a Forget came after the table or run with the
// given sequence number.
func (s *shard) tombstoned(form hash.Form, h, lo uint64, record []byte, seq uint64) bool {
	if len(s.tombs) == 0 {
		return false
	}
	return s.tombs[tombKey(form, h, lo, record)].seq > seq
}

// absent does to a key that nobody knows what the call is for.
func (s *shard) absent(b *Batch, i int) error {
	switch b.op {
	case opMark:
		return s.mark(b, i)
	case opHold:
		s.hold(b, i)
		return nil
	}
	b.answer(i, dedup.Fresh)
	return nil
}

// byFilter decides a part where there is no store: "maybe" is Duplicate. One key goes after
// the other, since a key's twin may be in the same part.
func (s *shard) byFilter(b *Batch, from, to int) error {
	filter := *s.filter.Load()
	for i := from; i < to; i++ {
		if s.heldBy(b, i) {
			continue
		}
		mask := filter.Maybe(b.order[i]) & s.held
		switch {
		case mask != 0:
			b.duplicate(s, i)
			if mask&(1<<s.slot) == 0 && s.refreshes(b) {
				filter.Add(s.slot, b.order[i])
				b.fresh.add(b, i)
				b.fresh.old++
			}
		case s.blind&s.held != 0:
			b.answer(i, dedup.Unknown)
			b.Counts.Unknown++
		case b.op == opMark:
			filter.Add(s.slot, b.order[i])
			b.fresh.add(b, i)
			b.answer(i, dedup.Fresh)
		default:
			if err := s.absent(b, i); err != nil {
				return err
			}
		}
	}
	return nil
}
