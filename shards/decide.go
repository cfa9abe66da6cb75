package shards

import (
	"context"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/sabotage"
)

// An Op is what happens to a key that nobody marked or holds.
type Op uint8

const (
	opMark Op = iota // it is marked
	opHold           // it is claimed
	opLook           // nothing
)

// Admit marks the keys of b that are fresh and fills b.Out. An error means
// that nothing is known of the keys.
func (s *Set) Admit(ctx context.Context, b *Batch, now int64) error {
	b.op, b.now = opMark, now
	return s.decide(ctx, b)
}

// Claim claims the keys of b that are fresh, until now + lease, and fills
// verdict, token and end of claims, one for each key in the order of the call.
func (s *Set) Claim(ctx context.Context, b *Batch, now, lease int64, claims []dedup.Claim) error {
	b.op, b.now, b.lease, b.claims = opHold, now, lease, claims
	b.until = unixNano(now + lease)
	b.nonce = s.nonce.Add(uint64(b.n)) - uint64(b.n) + 1 // for all: one counter of all callers would be one more line to wait for
	err := s.decide(ctx, b)
	b.claims = nil
	return err
}

// Look fills b.Out without a change: Fresh or Duplicate; claims don't count.
func (s *Set) Look(ctx context.Context, b *Batch, now int64) error {
	b.op, b.now = opLook, now
	return s.decide(ctx, b)
}

// decide answers in three steps: what memory can say, shard by shard under the
// lock; then, with no lock held (I8), what the runs say of the rest, which others may
// begin with before (Offer); then that rest again under the lock, for others may have
// been there in between.
func (s *Set) decide(ctx context.Context, b *Batch) error {
	b.WaitPos, b.Counts, b.oldest = 0, Counts{}, 0
	b.pending = b.pending[:0]
	b.next.Orders = nil // an error may have left some
	b.fresh.reset()
	err := s.decideFirst(ctx, b)
	if len(b.pending) == 0 {
		return err
	}
	if cerr := s.c.Confirmer.Confirm(b, b.pending); err == nil { // also after an error: what was offered is at work
		err = cerr
	}
	if err != nil {
		return err
	}
	for rest := b.pending; len(rest) > 0; {
		shard, n := rest[0].Shard, 1
		for n < len(rest) && rest[n].Shard == shard {
			n++
		}
		if err := s.shards[shard].second(ctx, b, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// decideFirst looks into memory, for one key without the detour over shards.
func (s *Set) decideFirst(ctx context.Context, b *Batch) error {
	if b.n == 1 {
		return s.shards[b.single].first(ctx, b, 0, 1)
	}
	for i := range s.shards {
		s.announceLater(b, i+ahead)
		s.announce(b, i)
		if from, to := b.part(i); from < to {
			if err := s.shards[i].first(ctx, b, from, to); err != nil {
				return err
			}
			if len(b.pending) > 0 {
				s.c.Confirmer.Offer(b, b.pending)
			}
		}
		b.next.Announce(MaxPart)
	}
	return nil
}

// first decides what memory can: the common case is a key that no filter knows.
func (s *shard) first(ctx context.Context, b *Batch, from, to int) error {
	if err := s.lockFor(ctx, b, to-from); err != nil {
		return err
	}
	defer s.mu.Unlock()
	b.version[s.index] = s.version
	b.oldest = max(b.oldest, s.oldest)
	filter := *s.filter.Load()
	if s.set.c.Confirmer == nil {
		return s.approximate(b, from, to)
	}
	together := b.op == opMark && b.alike && s.claims.live == 0 && !sabotage.On(sabotage.SkipFilterAdd)
	if together {
		if t := s.active.tables[b.form[from]]; t != nil && b.n > 1 {
			t.PrefetchUnused(to - from)
		}
		// The live generation may be older than the window already, until all shards have
		// the next one; what is marked in it counts all the same.
		filter.AddAbsent(s.slot, s.held|1<<s.slot, s.blind, b.mask[from:to], b.order[from:to], &b.next)
	} else {
		filter.MaybeAnnounced(b.mask[from:to], b.order[from:to], &b.next)
	}
	var err error
	switch {
	case together && b.n == 1:
		err = s.admitOne(b)
	case together:
		err = s.admit(b, from, to)
	default:
		err = s.each(b, filter, from, to)
	}
	b.added[s.index] = s.added
	return s.endPart(b, err)
}

// each decides a part key by key.
func (s *shard) each(b *Batch, filter bloom.Filter, from, to int) error {
	seq := s.seq
	for i := from; i < to; i++ {
		if s.seq != seq {
			// The table was sealed on the way: what this part marked before is not in
			// the active one any more, but in the filter.
			seq = s.seq
			filter.MaybeAnnounced(b.mask[i:to], b.order[i:to], nil)
		}
		if err := s.one(b, i, (b.mask[i]|s.blind)&s.held); err != nil {
			return err
		}
	}
	return nil
}

// one decides one key by what memory can tell; m is its generations.
func (s *shard) one(b *Batch, i int, m uint8) error {
	if m == 0 && b.op == opMark && s.claims.live == 0 {
		return s.mark(b, i)
	}
	b.mask[i] = m
	settled, deferred, err := s.memory(b, i, m)
	switch {
	case settled:
		return err
	case deferred:
		b.pending = append(b.pending, Pending{I: int32(i), Shard: uint16(s.index), Mask: m})
	default:
		return s.absent(b, i)
	}
	return nil
}

// endPart logs what a part has marked, also where it failed half way: a key in a
// table is Duplicate from now on, so its frame and its filter bits must follow.
func (s *shard) endPart(b *Batch, err error) error {
	if lerr := s.logMarks(b); err == nil {
		err = lerr
	}
	return err
}

// lockFor locks the shard; marks need room in memory.
func (s *shard) lockFor(ctx context.Context, b *Batch, n int) error {
	if b.op == opMark || s.refreshes(b) {
		return s.lockForMarks(ctx, n)
	}
	s.mu.Lock()
	return nil
}

// memory answers from claims and unflushed keys. deferred says that only the
// runs know; neither that nor settled says that nobody knows the key.
func (s *shard) memory(b *Batch, i int, m uint8) (settled, deferred bool, err error) {
	form, order, lo, record := b.form[i], b.order[i], b.lo[i], b.recordOf(i)
	if at := s.claims.find(form, order, lo, record); at >= 0 && b.op != opLook {
		c := &s.claims.slots[at]
		if c.expires > b.now || c.pinned {
			b.answer(i, dedup.InFlight)
			b.Counts.InFlight++
			if b.op == opHold {
				to := &b.claims[b.at[i]]
				to.Verdict, to.Expires = dedup.InFlight, unixNano(c.expires)
			}
			return true, false, nil
		}
		s.claims.remove(at)
		b.Counts.Expired++
	}
	if m != 0 || b.op == opMark {
		if u := s.unflushed(b, i, m); u != nil {
			return true, false, s.known(b, i, u)
		}
	}
	return false, m != 0, nil
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

// unflushed looks through the tables in memory, newest first. m == 0 says that
// no generation may hold the key; then only claims and the keys that this very
// batch marks, which are not in the filter yet, can know it. It returns the table, or nil.
func (s *shard) unflushed(b *Batch, i int, m uint8) *Unflushed {
	order := b.order[i]
	switch {
	case s.active.has(b.form[i], order, s.hi(order), b.lo[i], b.recordOf(i)):
		return s.active
	case m != 0:
		return s.inSealed(b, i, m)
	}
	return nil
}

// inSealed is unflushed for the sealed tables.
func (s *shard) inSealed(b *Batch, i int, m uint8) *Unflushed {
	form, order, lo, record := b.form[i], b.order[i], b.lo[i], b.recordOf(i)
	h := s.hi(order)
	for k := len(s.sealed) - 1; k >= 0; k-- {
		u := s.sealed[k]
		if s.counts(u, m) && u.has(form, order, h, lo, record) {
			if s.tombstoned(form, h, lo, record, u.Seq) {
				return nil
			}
			return u
		}
	}
	return nil
}

// announceSealed has the processor fetch where inSealed is going to look.
func (s *shard) announceSealed(b *Batch, i int32) {
	for _, u := range s.sealed {
		if t := u.tables[b.form[i]]; t != nil && s.counts(u, b.mask[i]) {
			t.Prefetch(b.order[i : i+1])
		}
	}
}

// announceSealedKeys has it fetch what inSealed will compare keys of one form with.
func (s *shard) announceSealedKeys(b *Batch, at []int32) {
	for _, u := range s.sealed {
		t, asked := u.tables[b.form[0]], b.spilled[:0]
		for _, i := range at {
			if t != nil && s.counts(u, b.mask[i]) {
				asked = append(asked, i)
			}
		}
		if len(asked) > 0 {
			t.Candidates(b.candidates, b.order, asked)
		}
	}
}

// counts reports whether a sealed table has to be looked into for a key that only
// the generations of m may hold.
func (s *shard) counts(u *Unflushed, m uint8) bool {
	return u.Generation >= s.oldest && m&(1<<u.Slot) != 0
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

// second settles the keys of one shard that the runs were asked for.
func (s *shard) second(ctx context.Context, b *Batch, pending []Pending) error {
	for {
		if err := s.lockFor(ctx, b, len(pending)); err != nil {
			return err
		}
		if s.version == b.version[s.index] {
			break
		}
		// A table became a run, runs were merged or a generation began after the
		// first look: a key that was in neither place when we looked may be
		// there now, in a generation that was not asked.
		b.version[s.index] = s.version
		b.oldest = max(b.oldest, s.oldest)
		for i := range pending {
			pending[i].Found, pending[i].Mask = false, s.maybe(b, pending[i].I)
		}
		s.mu.Unlock()
		b.Counts.Again++
		if err := s.set.c.Confirmer.Confirm(b, pending); err != nil {
			return err
		}
	}
	defer s.mu.Unlock()
	var err error
	for i := 0; i < len(pending) && err == nil; i++ {
		err = s.settle(b, pending[i])
	}
	return s.endPart(b, err)
}

// maybe returns the generations that may hold a key as things are now.
func (s *shard) maybe(b *Batch, i int32) uint8 {
	return ((*s.filter.Load()).Maybe(b.order[i]) | s.blind) & s.held
}

// settle answers one key after its confirm. Another call, or an equal key of this
// one, may have marked it in between, in a generation that the first look had no
// reason to name; if nobody added anything nobody did.
func (s *shard) settle(b *Batch, p Pending) error {
	i := int(p.I)
	if s.added != b.added[s.index] {
		if settled, _, err := s.memory(b, i, s.maybe(b, p.I)); settled {
			return err
		}
	}
	form, order, lo, record := b.form[i], b.order[i], b.lo[i], b.recordOf(i)
	h := s.hi(order)
	switch {
	case p.Found && !s.tombstoned(form, h, lo, record, p.Seq):
		b.answer(i, dedup.Duplicate)
		b.Counts.Duplicate++
		b.Counts.Confirmed++
		if b.Marked != nil {
			b.Marked[b.at[i]] = p.Generation
		}
		if p.Generation != s.generation && s.refreshes(b) {
			b.WaitPos = max(b.WaitPos, s.pos)
			return s.refresh(b, i)
		}
		return nil
	case p.Mask&s.lost != 0:
		b.answer(i, dedup.Unknown)
		b.Counts.Unknown++
		return nil
	}
	b.Counts.FalsePositive++
	return s.absent(b, i)
}

// approximate decides by the filter alone, one key after the other, since a
// key's twin may be in the same batch.
func (s *shard) approximate(b *Batch, from, to int) error {
	filter := *s.filter.Load()
	var err error
	for i := from; i < to && err == nil; i++ {
		if b.op != opLook {
			var settled bool
			if settled, _, err = s.memory(b, i, 0); settled {
				continue
			}
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
			err = s.absent(b, i)
		}
	}
	return s.endPart(b, err)
}
