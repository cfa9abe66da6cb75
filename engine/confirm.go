package engine

import (
	"cmp"
	"errors"
	"math/bits"
	"slices"

	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/shards"
)

// A runEntry is a run in the list of what a shard's look-ups ask.
type runEntry struct {
	generation uint64
	slots      uint8 // of the shard's filter that its keys are in
	form       hash.Form
	seq        uint64
	run        *persist.Run
}

// lookup is the scratch of one Confirm, or of a helper.
type lookup struct {
	persist.Lookup
	queries []persist.Query
}

// Confirm implements shards.Confirmer: every run that may hold a key is asked,
// newest first, until one does.
func (s *store) Confirm(b *shards.Batch, pending []shards.Pending) error {
	l := s.lookups.Get().(*lookup)
	defer s.lookups.Put(l)
	if h, _ := b.Aside.(*sharedBatch); h != nil && h.open() {
		h.offered.Store(int64(len(pending)))
		return s.finishShared(l, h)
	}
	err := s.ask(l, b, pending, b.Oldest())
	b.Counts.RunsAsked += uint64(l.Asked)
	b.Counts.DiskWait += uint64(l.Waited)
	return err
}

// ask confirms keys of generations from oldest on; l.Asked tells how many runs it took
// and l.Waited how long it waited for the disk.
func (s *store) ask(l *lookup, b *shards.Batch, pending []shards.Pending, oldest uint64) error {
	for {
		s.collect(l, b, pending, oldest)
		err := l.Confirm(l.queries)
		if err == nil {
			l.noteFound(pending)
			return nil
		}
		if !errors.Is(err, persist.ErrRetired) {
			return err
		}
		// The segment was retired or merged since the list was read, and its runs are out
		// of the list now: ask again. If the list still has the run, nobody replaced it
		// and the store was closed.
		q := l.Refused()
		if s.asks(int(pending[q.Index].Shard), q.Run) {
			return err
		}
	}
}

// collect puts together what the runs are asked.
func (s *store) collect(l *lookup, b *shards.Batch, pending []shards.Pending, oldest uint64) {
	qs := l.queries[:0]
	for j := range pending {
		p := &pending[j]
		list := s.runs[p.Shard].Load()
		if list == nil {
			continue
		}
		form, order, lo, record := b.Key(p.I)
		older := false
		for i := range *list {
			// The slot's bit alone does not tell the generation: a retired one may have
			// had the slot before, and its runs leave the list later.
			r := &(*list)[i]
			if p.Mask&r.slots == 0 || r.generation < oldest || r.form != form {
				continue
			}
			qs = append(qs, persist.Query{Run: r.run, Order: order, Lo: lo, Key: record, Index: int32(j), Older: older, Mark: uint32(r.generation)})
			older = true
		}
	}
	l.queries = qs
}

// tell notes which keys were found.
func (l *lookup) noteFound(pending []shards.Pending) {
	for i := range l.queries {
		if q := &l.queries[i]; q.Found {
			p := &pending[q.Index]
			p.Found, p.Seq, p.Generation = true, q.Run.Seq(), uint64(q.Mark)
		}
	}
}

// asks reports whether a shard's look-ups still ask a run.
func (s *store) asks(shard int, run *persist.Run) bool {
	return slices.ContainsFunc(s.list(shard), func(r runEntry) bool { return r.run == run })
}

// install adds runs to the shard's list, whose keys are in the given slots of its filter. The
// shard is locked, so two writers can't lose each other's change; readers keep the old list.
func (s *store) install(shard int, generation uint64, slots uint8, runs []*persist.Run) {
	list := s.list(shard)
	for _, r := range runs {
		m := r.Meta()
		if !m.Tombstones {
			list = append(list, runEntry{generation, slots, hash.Form(m.Form), m.Seq, r})
		}
	}
	// Newest first: the first run that holds a key decides about tombstones.
	slices.SortStableFunc(list, func(a, b runEntry) int { return cmp.Compare(b.seq, a.seq) })
	s.runs[shard].Store(&list)
}

// move changes the slots of all runs of a shard. It is called with the shard locked.
func (s *store) move(shard int, moved func(slots uint8) uint8) {
	list := s.list(shard)
	for i := range list {
		list[i].slots = moved(list[i].slots)
	}
	s.runs[shard].Store(&list)
}

// slot returns the slot of a run as an opening placed it.
func (s *store) slot(run *persist.Run) int {
	for _, r := range s.list(int(run.Meta().Shard)) {
		if r.run == run {
			return bits.TrailingZeros8(r.slots)
		}
	}
	return 0
}

// slotsOf returns the slots of a shard's runs of a form that lie in some segments.
func (s *store) slotsOf(shard int, form hash.Form, segments map[uint64]bool) (slots uint8) {
	for _, r := range s.list(shard) {
		if r.form == form && segments[r.run.Segment().ID()] {
			slots |= r.slots
		}
	}
	return slots
}

// uninstall takes the runs of some segments out of the shard's list. The shard is locked.
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
