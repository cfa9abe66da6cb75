package shards

import (
	"slices"

	"github.com/firstseen/firstseen/dedup"
)

// admit decides a part that is marked, of keys of one form, while nobody holds
// claims. What is new and what a filter knows can be decided apart: equal keys have
// equal masks.
func (s *shard) admit(b *Batch, from, to int) error {
	t, err := s.tableFor(b, b.form[from], to-from) // may seal, as long as nothing of the part is marked
	if err != nil {
		return err
	}
	b.split(from, to, s.blind, s.held)
	s.admitKnown(b, t)
	if t.arena != nil {
		b.fresh.addRecords(t.arena, b.record)
	}
	shard, shift := s.hi(0), s.set.shardBits
	for done := 0; ; {
		n := t.insertNew(b.fresh.orders[done:], b.fresh.los[done:], shard, shift)
		done += n
		s.active.keys += n
		s.added += uint64(n)
		if done == b.fresh.len() {
			break
		}
		i := int(b.fresh.at[done])
		if !t.has(b.order[i], s.hi(b.order[i]), b.lo[i], b.recordOf(i)) {
			return s.admitColliding(b, done)
		}
		b.duplicate(s, i) // of a key of this very part
		b.Counts.Unflushed++
		b.fresh.remove(done)
	}
	b.answerFresh()
	return nil
}

// admitKnown answers what the tables tell of the keys in b.known; the rest is left to
// the runs.
func (s *shard) admitKnown(b *Batch, active *table) {
	rest := b.known[:0]
	for _, i := range b.known {
		order := b.order[i]
		if active.has(order, s.hi(order), b.lo[i], b.recordOf(int(i))) {
			b.duplicate(s, int(i))
			b.Counts.Unflushed++
			continue
		}
		s.announceSealed(b, i)
		rest = append(rest, i)
	}
	for _, i := range rest {
		if m := b.mask[i]; len(s.sealed) > 0 && s.inSealed(b, int(i), m) {
			b.duplicate(s, int(i))
			b.Counts.Unflushed++
		} else {
			b.pending = append(b.pending, Pending{I: i, Shard: uint16(s.index), Mask: m})
		}
	}
}

// admitColliding ends admit for keys made to collide, which have filled what a
// search walks: the fresh keys before done are marked, the others one by one, in a new table.
func (s *shard) admitColliding(b *Batch, done int) error {
	rest := slices.Clone(b.fresh.at[done:])
	b.fresh.cut(done)
	b.fresh.records = nil
	b.answerFresh()
	if err := s.sealWithin(b); err != nil {
		return err
	}
	for _, i := range rest {
		if err := s.one(b, int(i), s.maybe(b, i)); err != nil {
			return err
		}
	}
	return nil
}

// answerFresh answers the keys of b.fresh.
func (b *Batch) answerFresh() {
	out, at := b.Out, b.at
	for _, i := range b.fresh.at {
		out[at[i]] = dedup.Fresh
	}
}
