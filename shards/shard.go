package shards

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
	"github.com/firstseen/firstseen/internal/sabotage"
)

// A shard is one part of the hash space. mu guards everything but the two
// pointers that prefetch reads.
type shard struct {
	set   *Set
	index int

	filter atomic.Pointer[bloom.Filter]               // swapped under mu
	hint   [hash.Forms]atomic.Pointer[keytable.Table] // the active tables, for prefetch only

	mu         sync.Mutex
	generation uint64
	slots      slots
	slot       int // that gets the marks
	active     *Unflushed
	sealed     []*Unflushed // oldest first
	larger     bloom.Filter // while the filter is rebuilt: gets every mark too
	growing    growing      // what lies where in it
	claims     claims
	tombs      map[string]tombstoned
	pos        uint64 // log position behind the shard's last frame
	replaying  uint64 // log position behind the frame that is being replayed, 0 if none
	seq        uint64 // of the active table
	version    uint64 // counts changes of the runs and of the live generation
	added      uint64 // counts keys put into the tables and the claims
	live       uint64 // keys marked in the live generation
	sweepAt    int
	held       uint8                        // slots that count: those in use
	lostAt     [bloom.MaxGenerations]uint64 // newest generation with a gap in each slot
	oldest     uint64                       // generation that counts
	blind      uint8                        // slots whose filter is lost: every key is "maybe"
	lost       uint8                        // slots whose runs are incomplete: a "maybe" that is not found is Unknown
}

func (s *shard) init(set *Set, index int, f bloom.Filter) {
	s.set, s.index = set, index
	s.filter.Store(&f)
	s.generation, s.slots = set.c.Generation, newSlots(set.c.Filter)
	s.tombs = map[string]tombstoned{}
	s.claims.free = -1
	s.seq = 1
	s.newActive()
	s.beginSlot()
}

// lockLater is Lock for background work. It never queues: a mutex that somebody
// has waited for over 1 ms is handed over at every unlock, and a caller that
// hands it over loses its processor to the background for milliseconds.
func (s *shard) lockLater() {
	for !s.mu.TryLock() {
		runtime.Gosched()
	}
}

func (s *shard) newActive() {
	s.active = &Unflushed{Shard: s.index, Generation: s.generation, Slot: s.slot, Seq: s.seq}
	for f := range s.hint {
		s.hint[f].Store(nil)
	}
}

func (u *Unflushed) empty() bool { return u.keys == 0 && len(u.Tombstones) == 0 }

// seal closes the active table and queues it for the flush.
func (s *shard) seal() {
	if s.active.empty() {
		// Its memory may be there all the same, after a Forget.
		s.active.Generation, s.active.Slot = s.generation, s.slot
		return
	}
	u := s.active
	u.End, u.MaxPos = s.pos, max(s.pos, s.replaying)
	s.sealed = append(s.sealed, u)
	s.seq++
	s.newActive()
	s.set.nSealed.Add(1)
	s.set.queue.Lock()
	s.set.queue.tables = append(s.set.queue.tables, u)
	s.set.queue.Unlock()
	s.set.c.Sealed()
}

// lockForMarks locks the shard with room for n more keys. It waits, unlocked,
// while too many sealed tables wait for their flush: more than MaxSealed, which
// rotations may bring about, leave no memory for a table that is not begun.
func (s *shard) lockForMarks(ctx context.Context, n int) error {
	for waited := false; ; waited = true {
		s.mu.Lock()
		begun, most := !s.active.empty(), int64(s.set.c.MaxSealed)
		if s.set.c.Confirmer == nil || begun && s.active.room(n, int(s.set.maxKeys.Load())) {
			return nil
		}
		// Nothing of the part is in the filter yet: its bits and its table will agree on the slot.
		if !begun {
			most++ // none is added to the sealed ones
		}
		if s.set.nSealed.Load() < most {
			if begun {
				s.set.filled.Add(1)
			}
			s.seal()
			s.followSlot()
			return nil
		}
		s.mu.Unlock()
		if !waited {
			s.set.waits.Add(1)
		}
		if err := s.set.waitRoom(ctx, most); err != nil {
			return err
		}
	}
}

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
	if !b.fresh.inFilter && !sabotage.On(sabotage.SkipFilterAdd) {
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

// log appends the keys in b.fresh to the log, a record for each form.
func (s *shard) log(b *Batch, kind Kind) error {
	if b.alike {
		return s.logForm(b, kind, b.form[0])
	}
	forms := 0
	for _, i := range b.fresh.at {
		forms |= 1 << b.form[i]
	}
	for form := range hash.Form(hash.Forms) {
		if forms&(1<<form) == 0 {
			continue
		}
		if err := s.logForm(b, kind, form); err != nil {
			return err
		}
	}
	return nil
}

// logForm logs the keys of one form.
func (s *shard) logForm(b *Batch, kind Kind, form hash.Form) error {
	p, n := b.fresh.payload, b.fresh.len()
	if p == nil {
		p, n = s.payload(b, form)
		b.payload = p
	}
	r := &b.rec // field by field: a record made beside it would be copied
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
