package shards

import (
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/keytable"
)

// together decides a part that is marked, of keys of one form, while nobody holds
// claims: the common case. The filter tells which keys none of its slots may hold, and has
// got them then: those are new, and no two of them are equal, so they go into the table
// without a look for equals. The others are decided after them, one by one, since a twin of
// a new one is among them. After an error the filter may know keys that nobody marked.
func (s *shard) together(b *Batch, from, to int) error {
	form := b.form[from]
	if t := s.active.tables[form]; t != nil {
		t.PrefetchUnused(to - from)
	}
	// The live generation may be older than the window already, until all shards have
	// the next one; what is marked in it counts all the same.
	filter := *s.filter.Load()
	filter.AddAbsent(s.slot, s.held|1<<s.slot, s.blind, b.mask[from:to], b.order[from:to], &b.next)
	t, err := s.tableFor(b, form, to-from) // may seal, as long as nothing of the part is marked
	if err != nil {
		return err
	}
	pairs := t.Unused(to - from)
	b.split(from, to, pairs, s.hi(0), s.set.shardBits)
	if t.HasRecords() {
		b.fresh.payload = t.AddRecords(b.fresh.at, b.record, pairs)
	}
	left := s.insertFresh(b, t)
	b.answerFresh()
	for _, i := range left {
		if err := s.mark(b, int(i)); err != nil {
			return err
		}
	}
	if len(b.known) == 0 {
		return nil
	}
	s.prefetchKnown(b, s.active.tables[form])
	for _, i := range b.known {
		if err := s.one(b, int(i), b.mask[i]); err != nil {
			return err
		}
	}
	return nil
}

// insertFresh puts the keys of b.fresh, which stand behind the used ones of the active table
// t, into it. It takes those out that found no place, since they were made to collide, and
// returns them: they go into a new table, by mark.
func (s *shard) insertFresh(b *Batch, t *keytable.Table) (left []int32) {
	left = t.InsertNew(b.fresh.orders, b.spilled[:0])
	n := b.fresh.len() - len(left)
	s.active.keys += n
	s.added += uint64(n)
	b.fresh.remove(left)
	return left
}

// answerFresh answers the keys of b.fresh.
func (b *Batch) answerFresh() {
	out, at := b.Out, b.at
	for _, i := range b.fresh.at {
		out[at[i]] = dedup.Fresh
	}
}

// prefetchKnown prefetches what unflushed is going to read for the keys in b.known, all of
// one form: the rows of the sealed tables, whose own prefetches come too early for Route to
// make, then the keys that a row's tags name. active is the active table.
func (s *shard) prefetchKnown(b *Batch, active *keytable.Table) {
	form := b.form[b.known[0]]
	for _, u := range s.sealed {
		if t := u.tables[form]; t != nil {
			for _, i := range b.known {
				if s.asks(u, b.mask[i]) {
					t.Prefetch(b.order[i : i+1])
				}
			}
		}
	}
	active.PrefetchKeys(b.order, b.known)
	for _, u := range s.sealed {
		t, asked := u.tables[form], b.spilled[:0]
		if t == nil {
			continue
		}
		for _, i := range b.known {
			if s.asks(u, b.mask[i]) {
				asked = append(asked, i)
			}
		}
		t.PrefetchKeys(b.order, asked)
	}
}
