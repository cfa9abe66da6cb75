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
//
// The fields that collect compares are copies, because it compares them for each pending key
// and each run of the shard.
type runEntry struct {
	generation uint64
	// slots are those of the shard's filter that the run's keys are in: one bit for a table's
	// run, several after a merge. They change when the filter grows, see move.
	slots uint8
	form  hash.Form
	seq   uint64 // of the table that it was, or of the newest one merged into it
	run   *persist.Run
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
	// Offer has shown the helpers a beginning of pending. Now the rest counts too, and whoever
	// comes first takes it.
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
		// The segment was closed since the list was read. Whoever removes a segment does it
		// in this order:
		//
		//  1. The manifest stops naming it.
		//  2. Its runs leave the lists; after a merge the new run comes in the same step.
		//  3. The segment is closed. From here on it answers ErrRetired.
		//
		// So the list that is there now lacks the run, and asking it again answers. If the list
		// still has the run nobody took step 2: the store was closed.
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
			// had the slot before, and its runs leave the list later. And runs of another
			// form may share the slot: a shard's filter has one set of bits for all forms.
			r := &(*list)[i]
			if p.Mask&r.slots == 0 || r.generation < oldest || r.form != form {
				continue
			}
			qs = append(qs, persist.Query{Run: r.run, Order: order, Lo: lo, Record: record, Index: int32(j), Older: older, Mark: uint32(r.generation)})
			older = true
		}
	}
	l.queries = qs
}

// noteFound tells pending which keys were found. It is called after a whole Confirm without an
// error: what one that met ErrRetired had found is found again.
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
// Tombstones are left out: all of them are in memory, where look-ups ask for them
// (shards.Set.AddTombstone), and a run of them holds no marks.
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

// move changes the slots of all runs of a shard, when a larger filter takes the place of the one
// before and hands the slots out anew. It is called with the shard locked, in the same step as
// the filters' exchange: masks of one filter against slots of the other would miss runs (I1).
func (s *store) move(shard int, moved func(slots uint8) uint8) {
	list := s.list(shard)
	for i := range list {
		list[i].slots = moved(list[i].slots)
	}
	s.runs[shard].Store(&list)
}

// slot returns the slot of a run as an opening placed it. Only an opening may ask: there no run
// has been merged yet, so each has one slot.
func (s *store) slot(run *persist.Run) int {
	for _, r := range s.list(int(run.Meta().Shard)) {
		if r.run == run {
			return bits.TrailingZeros8(r.slots)
		}
	}
	return 0
}

// slotsOf returns the slots of a shard's runs of a form that lie in some segments. A run merged
// of them has keys in all of these slots and is asked when any of them is in a mask.
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

// list returns a copy of a shard's list, which the caller may change: readers without a lock may
// be at the list itself.
func (s *store) list(shard int) []runEntry {
	if l := s.runs[shard].Load(); l != nil {
		return slices.Clone(*l)
	}
	return nil
}
