package shards

import (
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

// decideKey decides what memory can tell of one key; mask is the slots of the filter that may
// hold it. This is the whole decision, and admitPart takes the same steps for many keys at
// once. The order matters:
//
//  1. A claim comes first: a claimed key is marked nowhere, so all the other steps would call
//     it new.
//  2. Mask 0 is certain (I1): every mark of the window has its bit in the filter.
//  3. The active table comes before the sealed ones, and tables before runs, since the newest
//     mark or tombstone of a key decides.
func (s *shard) decideKey(b *Batch, i int, mask uint8) error {
	b.mask[i] = mask
	switch {
	case s.answerClaimed(b, i):
		return nil
	case mask == 0: // a twin in this part may have marked it since the mask was read: mark finds it
		return s.decideAbsent(b, i)
	case s.inActive(b, i):
		return s.answerUnflushed(b, i, s.active)
	}
	return s.decideOlder(b, i, mask)
}

// decideOlder decides a key that may be marked, but is neither claimed nor in the active
// table. What no sealed table holds is left to the runs: it is pending.
func (s *shard) decideOlder(b *Batch, i int, mask uint8) error {
	if u := s.inSealed(b, i, mask); u != nil {
		return s.answerUnflushed(b, i, u)
	}
	b.pending = append(b.pending, Pending{I: int32(i), Shard: uint16(s.index), Mask: mask})
	return nil
}

// decideEach decides a part key by key: everything that admitPart is not for, which is claims,
// look-ups, keys of several forms, and marks while somebody holds a claim.
func (s *shard) decideEach(b *Batch, from, to int) error {
	filter := *s.filter.Load()
	filter.MaybePrefetched(b.mask[from:to], b.order[from:to], &b.next)
	seq := s.seq
	for i := from; i < to; i++ {
		if s.seq != seq {
			// The table was sealed on the way, and logMarks has put into the filter what
			// this part had marked before. A twin that comes now is no longer in the active
			// table, so its mask must be read again.
			seq = s.seq
			filter.MaybePrefetched(b.mask[i:to], b.order[i:to], nil)
		}
		mask := (b.mask[i] | s.blind) & s.inUse
		if mask == 0 && b.op == opHold && s.claims.none(b.order[i]) { // as decideKey would: most claims are of new keys
			s.hold(b, i)
			continue
		}
		if err := s.decideKey(b, i, mask); err != nil {
			return err
		}
	}
	return nil
}

// answerClaimed reports whether somebody holds a claim of the key, and answers InFlight then.
// This is where a lease's end takes effect: the claim is removed by the next caller that wants
// the key, and not by a timer, so that a late Commit is good until then. Look does not care
// about claims.
func (s *shard) answerClaimed(b *Batch, i int) bool {
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
		b.claims[b.at[i]].Expires = time.Unix(0, c.expires)
	}
	return true
}

// answerUnflushed answers Duplicate for a key that an unflushed table holds.
func (s *shard) answerUnflushed(b *Batch, i int, u *Unflushed) error {
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

// inSealed returns the newest sealed table that holds a key, or nil. If a tombstone overrides that
// one it overrides all older ones too, so the search ends. mu is held.
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
// the slots of mask may hold. The slot alone does not say so: the table of a retired generation
// stays until its flush, and its slot may be a newer one's by then (I4).
func (s *shard) asks(u *Unflushed, mask uint8) bool {
	return u.Generation >= s.oldest && mask&(1<<u.Slot) != 0
}

// tombstoned reports whether a Forget came after the table or run with the given sequence
// number. The active table need not ask: Forget deletes the key from it.
func (s *shard) tombstoned(form hash.Form, h, lo uint64, record []byte, seq uint64) bool {
	if len(s.tombs) == 0 {
		return false
	}
	return s.tombs[tombKey(form, h, lo, record)].seq > seq
}

// decideAbsent does to a key that nobody has marked or claimed what the call is for.
func (s *shard) decideAbsent(b *Batch, i int) error {
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

// decideByFilter decides a part where there is no store: "maybe" is Duplicate. Each key is
// added to the filter before the next one is asked for, since its twin may be in the same part.
func (s *shard) decideByFilter(b *Batch, from, to int) error {
	filter := *s.filter.Load()
	for i := from; i < to; i++ {
		if s.answerClaimed(b, i) {
			continue
		}
		mask := filter.Maybe(b.order[i]) & s.inUse
		switch {
		case mask != 0:
			b.duplicate(s, i)
			if mask&(1<<s.slot) == 0 && s.refreshes(b) {
				filter.Add(s.slot, b.order[i])
				b.fresh.add(b, i)
				b.fresh.old++
			}
		case s.blind&s.inUse != 0:
			b.answer(i, dedup.Unknown)
			b.Counts.Unknown++
		case b.op == opMark:
			filter.Add(s.slot, b.order[i])
			b.fresh.add(b, i)
			b.answer(i, dedup.Fresh)
		default:
			if err := s.decideAbsent(b, i); err != nil {
				return err
			}
		}
	}
	return nil
}
