package engine

import (
	"cmp"
	"errors"
	"slices"

	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/shards"
)

// A runEntry is a run in the list of what a shard's confirms ask.
type runEntry struct {
	generation uint64
	bit        uint8 // of the generation's slot
	form       hash.Form
	seq        uint64
	run        *persist.Run
}

// lookup is the scratch of one Confirm.
type lookup struct {
	persist.Lookup
	queries []persist.Query
	asks    []ask
}

// An ask is the part of a lookup's queries that goes to one run.
type ask struct {
	entry *runEntry
	end   int // of the part; it begins where the one before ends
}

// Confirm implements shards.Confirmer: each run of the shard is asked once for
// all keys that it may hold.
func (s *store) Confirm(shard int, b *shards.Batch, pending []shards.Pending) error {
	l := s.lookups.Get().(*lookup)
	defer s.lookups.Put(l)
	// Runs want ascending orders; twins must stay in the order of the call.
	slices.SortFunc(pending, func(x, y shards.Pending) int {
		if c := cmp.Compare(b.Order(x.I), b.Order(y.I)); c != 0 {
			return c
		}
		return cmp.Compare(x.I, y.I)
	})
	for {
		list := s.runs[shard].Load()
		if list == nil {
			return nil
		}
		err := s.confirm(l, *list, b, pending)
		if !errors.Is(err, persist.ErrRetired) {
			return err
		}
		// The segment was retired or merged under our hands: the new list
		// does without it. An unchanged list means that it was closed.
		if s.runs[shard].Load() == list {
			return err
		}
		for i := range pending {
			pending[i].Found = false
		}
	}
}

// Announce implements shards.Confirmer: the blocks that Confirm will read are on
// their way from memory when it comes to them.
func (s *store) Announce(shard int, b *shards.Batch, pending []shards.Pending) {
	list := s.runs[shard].Load()
	if list == nil {
		return
	}
	for i := range *list {
		r := &(*list)[i]
		for j := range pending {
			if r.mayHold(b, &pending[j]) {
				r.run.Announce(b.Order(pending[j].I))
			}
		}
	}
}

// mayHold reports whether the run has to be asked for a key.
func (r *runEntry) mayHold(b *shards.Batch, p *shards.Pending) bool {
	return p.Mask&r.bit != 0 && r.generation >= b.Oldest() && b.Form(p.I) == r.form
}

func (s *store) confirm(l *lookup, list []runEntry, b *shards.Batch, pending []shards.Pending) error {
	l.collect(list, b, pending)
	from := 0
	for _, a := range l.asks {
		qs := l.queries[from:a.end]
		from = a.end
		found := 0
		for k := range qs {
			if qs[k].Found = pending[qs[k].Index].Found; qs[k].Found {
				found++
			}
		}
		if found == len(qs) {
			continue
		}
		b.Counts.RunsAsked++
		if err := a.entry.run.Confirm(&l.Lookup, qs); err != nil {
			return err
		}
		for k := range qs {
			if p := &pending[qs[k].Index]; qs[k].Found && !p.Found {
				p.Found, p.Seq = true, a.entry.seq
			}
		}
	}
	return nil
}

// collect puts together what each run is asked.
func (l *lookup) collect(list []runEntry, b *shards.Batch, pending []shards.Pending) {
	l.queries, l.asks = l.queries[:0], l.asks[:0]
	for i := range list {
		r := &list[i]
		from := len(l.queries)
		for j := range pending {
			if p := &pending[j]; r.mayHold(b, p) {
				_, order, lo, record := b.Key(p.I)
				l.queries = append(l.queries, persist.Query{Order: order, Lo: lo, Key: record, Index: int32(j)})
			}
		}
		if len(l.queries) > from {
			l.asks = append(l.asks, ask{r, len(l.queries)})
		}
	}
}

// install puts runs into the shard's list. It is called with the shard locked.
func (s *store) install(shard int, generation uint64, runs []*persist.Run) {
	list := s.list(shard)
	for _, r := range runs {
		m := r.Meta()
		if !m.Tombstones {
			list = append(list, runEntry{generation, s.bit(generation), hash.Form(m.Form), m.Seq, r})
		}
	}
	// Newest first: the first run that holds a key decides about tombstones.
	slices.SortStableFunc(list, func(a, b runEntry) int { return cmp.Compare(b.seq, a.seq) })
	s.runs[shard].Store(&list)
}

// uninstall takes the runs of some segments out of the shard's list.
func (s *store) uninstall(shard int, gone map[uint64]bool) {
	list := slices.DeleteFunc(s.list(shard), func(r runEntry) bool { return gone[r.run.Segment().ID()] })
	s.runs[shard].Store(&list)
}

// list returns a copy of a shard's list.
func (s *store) list(shard int) []runEntry {
	if l := s.runs[shard].Load(); l != nil {
		return slices.Clone(*l)
	}
	return nil
}
