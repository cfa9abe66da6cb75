package shards

import (
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/keytable"
)

// admit decides a part that is marked, of keys of one form, while nobody holds
// claims. b.mask tells which of its keys the filter has just got (AddAbsent): they are
// new, and no two of them are equal. The others are decided after them, since a twin of
// a new one is among them. After an error the filter may know keys that nobody marked.
func (s *shard) admit(b *Batch, from, to int) error {
	form := b.form[from]
	t, err := s.tableFor(b, form, to-from) // may seal, as long as nothing of the part is marked
	if err != nil {
		return err
	}
	pairs := t.Unused(to - from)
	b.split(from, to, pairs, s.hi(0), s.set.shardBits)
	if t.HasRecords() {
		b.fresh.payload = t.AddRecords(b.fresh.at, b.record, pairs)
	}
	left := t.InsertNew(b.fresh.orders, b.spilled[:0])
	n := b.fresh.len() - len(left)
	s.active.keys += n
	s.added += uint64(n)
	b.fresh.remove(left)
	b.answerFresh()
	for _, i := range left { // made to collide: they go into a new table
		if err := s.mark(b, int(i)); err != nil {
			return err
		}
	}
	if len(b.known) > 0 {
		return s.admitKnown(b, s.active.tables[form])
	}
	return nil
}

// admitOne is admit for a call of one key: there is nothing to sort.
func (s *shard) admitOne(b *Batch) error {
	if b.mask[0] != 0 {
		return s.one(b, 0, b.mask[0])
	}
	t, err := s.tableFor(b, b.form[0], 1)
	if err != nil {
		return err
	}
	order := b.order[0]
	p, ok := t.InsertAbsent(order, s.hi(order), b.lo[0], b.recordOf(0))
	if !ok { // made to collide
		return s.mark(b, 0)
	}
	s.active.keys++
	s.added++
	b.fresh.add(b, 0)
	b.fresh.payload, b.fresh.inFilter = p, true
	b.answer(0, dedup.Fresh)
	return nil
}

// admitKnown answers what the tables tell of the keys in b.known; the rest is left to
// the runs.
func (s *shard) admitKnown(b *Batch, active *keytable.Table) error {
	rest := b.known[:0]
	candidates := active.Candidates(b.candidates, b.order, b.known)
	for k, i := range b.known {
		order := b.order[i]
		if active.Holds(candidates[k], order, s.hi(order), b.lo[i], b.recordOf(int(i))) {
			b.duplicate(s, int(i))
			b.Counts.Unflushed++
			continue
		}
		s.announceSealed(b, i)
		rest = append(rest, i)
	}
	s.announceSealedKeys(b, rest)
	for _, i := range rest {
		m := b.mask[i]
		u := s.inSealed(b, int(i), m)
		if u == nil {
			b.pending = append(b.pending, Pending{I: i, Shard: uint16(s.index), Mask: m})
			continue
		}
		if err := s.known(b, int(i), u); err != nil {
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
