package shards

import (
	"context"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// An Op is what happens to a key that nobody has marked or claimed.
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

// Claim claims the keys of b that are fresh, until now + lease, fills b.Out, and verdict,
// token and end of claims, one for each key in the order of the call, which have none of
// them yet. The ends are by a clock that is ahead of the engine's by so much.
func (s *Set) Claim(ctx context.Context, b *Batch, now, lease int64, ahead time.Duration, claims []dedup.Claim) error {
	b.op, b.now, b.lease, b.claims = opHold, now, lease, claims
	b.nonce = s.nonce.Add(uint64(b.n)) - uint64(b.n) + 1 // for all: one counter of all callers would be one more line to wait for
	if cap(b.held) < b.n {
		b.held = make([]place, cap(b.order))
	}
	b.held = b.held[:b.n]
	err := s.decide(ctx, b)
	b.answerClaims(ahead)
	b.claims = nil
	return err
}

// answerClaims fills the claims. They are some 100 bytes each, so they are written one after
// the other, not in the order in which shards decide about their keys.
func (b *Batch) answerClaims(ahead time.Duration) {
	until := time.Unix(0, b.now+b.lease).Add(ahead)
	for i, v := range b.Out {
		c := &b.claims[i]
		switch c.Verdict = v; v {
		case dedup.Fresh:
			c.Token, c.Expires = newToken(b.held[i], b.nonce+uint64(i)), until
		case dedup.InFlight: // answerClaimed has noted the end of the lease
			c.Expires = c.Expires.Add(ahead)
		}
	}
}

// Look fills b.Out without a change: Fresh or Duplicate; claims don't count.
func (s *Set) Look(ctx context.Context, b *Batch, now int64) error {
	b.op, b.now = opLook, now
	return s.decide(ctx, b)
}

// decide answers in three steps:
//
//  1. The first look: what memory can tell, shard by shard under its lock.
//  2. The runs are asked for the rest, which is pending, with no lock held (I8). Helpers may
//     have begun with them during step 1 (Offer).
//  3. The second look: the pending keys again under their shards' locks, since other calls
//     may have marked them meanwhile.
func (s *Set) decide(ctx context.Context, b *Batch) error {
	b.WaitPos, b.Counts, b.oldest = 0, Counts{}, 0
	b.pending = b.pending[:0]
	b.next.Orders = nil // a call that failed may have left some
	b.fresh.reset()
	err := s.decideFirst(ctx, b)
	if len(b.pending) == 0 {
		return err
	}
	// Also after an error: helpers may be at work on what was offered, and the batch is
	// theirs until Confirm returns.
	if cerr := s.c.Confirmer.Confirm(b, b.pending); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	// The first look went from shard to shard, so the keys of each shard stand together.
	for rest := b.pending; len(rest) > 0; {
		shard, n := rest[0].Shard, 1
		for n < len(rest) && rest[n].Shard == shard {
			n++
		}
		if err := s.shards[shard].secondLook(ctx, b, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// decideFirst is the first look at all shards, and for one key at its shard alone. While a
// shard is decided, the lines and rows of those behind it are prefetched.
func (s *Set) decideFirst(ctx context.Context, b *Batch) error {
	if b.n == 1 {
		return s.shards[b.single].firstLook(ctx, b, 0, 1)
	}
	for i := range s.shards {
		s.prefetchLater(b, i+shardsAhead)
		if from, to := b.part(i); from < to {
			s.shards[i].prefetch(b, from, to)
			if err := s.shards[i].firstLook(ctx, b, from, to); err != nil {
				return err
			}
			if len(b.pending) > 0 {
				s.c.Confirmer.Offer(b, b.pending)
			}
		}
		b.next.Next(MaxPiece)
	}
	return nil
}

// firstLook decides what memory can tell of the keys of one shard, under its lock. It notes
// the shard's version and how many keys it had, for secondLook.
func (s *shard) firstLook(ctx context.Context, b *Batch, from, to int) error {
	if err := s.lockFor(ctx, b, to-from); err != nil {
		return err
	}
	defer s.mu.Unlock()
	b.version[s.index] = s.version
	b.oldest = max(b.oldest, s.oldest)
	var err error
	switch {
	case s.set.c.Confirmer == nil:
		err = s.decideByFilter(b, from, to)
	case b.op == opMark && b.alike && s.claims.live == 0:
		err = s.admitPart(b, from, to)
	default:
		err = s.decideEach(b, from, to)
	}
	b.added[s.index] = s.added
	return s.endPart(b, err)
}

// endPart logs what a part has marked, even if it failed half way: a key in a table is
// Duplicate from now on, so its filter bits and its frame must follow (I1).
func (s *shard) endPart(b *Batch, err error) error {
	if lerr := s.logMarks(b); err == nil {
		err = lerr
	}
	return err
}

// secondLook decides the pending keys of one shard, under its lock again. Without the version
// a duplicate could pass:
//
//  1. The first look finds bits of a key, but the key in no table: it is pending.
//  2. The confirm reads the list of runs.
//  3. Another call marks the key, its table is sealed and flushed, and Published swaps table
//     for run: the key is now in a run that was not in the list, and in no table.
//
// Published has raised the version by then, so the masks are read and the runs asked again,
// until nothing has changed meanwhile.
func (s *shard) secondLook(ctx context.Context, b *Batch, pending []Pending) error {
	for {
		if err := s.lockFor(ctx, b, len(pending)); err != nil {
			return err
		}
		if s.version == b.version[s.index] {
			break
		}
		// A table became a run, runs were merged, or a generation began: the key may be
		// in a run, or in a slot, that was not asked.
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
		err = s.decideConfirmed(b, pending[i])
	}
	return s.endPart(b, err)
}

// maybe returns the slots that may hold a key as things are now.
func (s *shard) maybe(b *Batch, i int32) uint8 {
	return ((*s.filter.Load()).Maybe(b.order[i]) | s.blind) & s.inUse
}

// decideConfirmed answers one key after its confirm. Another call, or the key's twin in this
// one, may have marked or claimed it since the first look. If so the shard has counted it in
// added; if added is what it was, the tables need not be asked again. Tombstones are always
// asked, since a Forget may have come after the confirm.
//
// A Duplicate that a run says waits for no frame: the log was synced before the run was published.
func (s *shard) decideConfirmed(b *Batch, p Pending) error {
	i := int(p.I)
	if s.added != b.added[s.index] {
		if s.answerClaimed(b, i) {
			return nil
		}
		if s.inActive(b, i) {
			return s.answerUnflushed(b, i, s.active)
		}
		if u := s.inSealed(b, i, s.maybe(b, p.I)); u != nil {
			return s.answerUnflushed(b, i, u)
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
	return s.decideAbsent(b, i)
}
