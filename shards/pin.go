package shards

import (
	"context"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

// Pin keeps the claims, at most MaxPiece, that their tokens still end: until CommitPinned or
// Unpin they survive the ends of their leases, and their tokens end them for nobody else.
// It sets lost[i] for the others, and calls key for each pinned one with what its key is stored
// as, with a shard locked.
//
// A commit with a result pins its claims, because it writes to the disk before it marks the key,
// and no shard may be locked meanwhile (I8). Without the pin that would go wrong:
//
//  1. The commit finds that its token ends the claim, and begins to write the result.
//  2. The lease ends. Another caller claims the key and handles the message again.
//  3. The result is there, and its claim is lost: the key is the other caller's to commit.
//
// A pinned claim answers InFlight for as long as it takes, so each Pin must be followed by
// CommitPinned or Unpin, after errors too. record must not be kept: it is the claim's memory.
func (s *Set) Pin(b *Batch, claims []dedup.Claim, lost []bool, key func(i int, form hash.Form, hi, lo uint64, record []byte)) {
	b.Counts = Counts{}
	s.routeTokens(b, claims, lost)
	for i := range s.shards {
		from, to := b.part(i)
		if from == to {
			continue
		}
		sh := &s.shards[i]
		sh.mu.Lock()
		for k := from; k < to; k++ {
			at := b.at[k]
			c := sh.claims.get(b.slots[k], b.numbers[k])
			if c == nil {
				lost[at] = true
				b.Counts.Lost++
				continue
			}
			c.pinned = true
			key(int(at), c.form, sh.hi(c.order), c.lo, c.record)
		}
		sh.mu.Unlock()
	}
}

// Unpin lets claims be what they were before they were pinned: where the lease has ended they go to who
// comes next. What is not pinned is left alone: CommitPinned may have marked and ended some of
// them, and their slots may be other claims' by now, with other numbers (I6).
func (s *Set) Unpin(claims []dedup.Claim) {
	for i := range claims {
		t := split(claims[i].Token)
		if int(t.shard) >= len(s.shards) {
			continue
		}
		sh := &s.shards[t.shard]
		sh.mu.Lock()
		if c := sh.claims.getPinned(t.slot, t.number); c != nil {
			c.pinned = false
		}
		sh.mu.Unlock()
	}
}

// CommitPinned is Commit for pinned claims, in the given generation. It leaves those pinned whose shard
// has begun a younger one, and after an error those that were not marked. marked[i]
// tells of each whether its key is.
//
// The generation is the one whose directory has the results. A duplicate's result is looked for
// in the generation of its mark alone, so a mark in a younger one would be a mark without its
// result: the caller writes the results of what is left again (docs/decisions/013).
func (s *Set) CommitPinned(ctx context.Context, b *Batch, claims []dedup.Claim, now int64, generation uint64, marked []bool) error {
	b.op, b.now = opMark, now
	b.WaitPos, b.Counts = 0, Counts{}
	b.fresh.reset()
	s.routeTokens(b, claims, marked)
	clear(marked) // routeTokens has no lost ones to tell
	for i := range s.shards {
		if from, to := b.part(i); from < to {
			if err := s.shards[i].commitPinned(ctx, b, from, to, generation, marked); err != nil {
				return err
			}
		}
	}
	return nil
}

// commitPinned compares the generation under the lock that it marks under, or a rotation could
// come between the two. Nobody else ends a pinned claim, so there are no lost ones to tell.
func (s *shard) commitPinned(ctx context.Context, b *Batch, from, to int, generation uint64, marked []bool) error {
	if err := s.lockFor(ctx, b, to-from); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.generation != generation {
		return nil
	}
	n := from
	for k := from; k < to; k++ {
		if c := s.claims.getPinned(b.slots[k], b.numbers[k]); c != nil {
			b.gather(n, k, c)
			n++
		}
	}
	return s.endPart(b, s.markGathered(b, from, n, marked))
}

// Claimed reports whether anybody has claimed the key of b, its only one, ended leases
// included: then it is not marked. The answer holds only as long as the caller keeps commits
// with results from going on; see the engine's beginForget.
func (s *Set) Claimed(b *Batch) bool {
	sh := &s.shards[b.single]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.claims.find(b.form[0], b.order[0], b.lo[0], b.recordOf(0)) >= 0
}

// Stored returns what the only key of b is stored as.
func (s *Set) Stored(b *Batch) (form hash.Form, hi, lo uint64, record []byte) {
	return b.form[0], s.shards[b.single].hi(b.order[0]), b.lo[0], b.recordOf(0)
}

// EachDuplicate calls do for the keys of b that are Duplicate with what they are stored as, and with
// the generation that they were marked in, which Marked must have been asked for. No shard is
// locked, so do may read from the disk. It goes by the routing of b: the caller's keys must be as
// they were, and nothing may have routed b anew.
func (s *Set) EachDuplicate(b *Batch, do func(i int, form hash.Form, hi, lo uint64, record []byte, generation uint64)) {
	one := func(shard, i int) {
		if at := b.at[i]; b.Out[at] == dedup.Duplicate {
			do(int(at), b.form[i], s.shards[shard].hi(b.order[i]), b.lo[i], b.recordOf(i), b.Marked[at])
		}
	}
	if b.n == 1 {
		one(b.single, 0)
		return
	}
	for shard := range s.shards {
		from, to := b.part(shard)
		for i := from; i < to; i++ {
			one(shard, i)
		}
	}
}

// LookStored is Look for one key that is given as it is stored. It routes b as routeOne would,
// with no key to hash. Claims don't count for Look, so the time does not matter.
func (s *Set) LookStored(ctx context.Context, b *Batch, form hash.Form, hi, lo uint64, record []byte) (dedup.Verdict, error) {
	b.resize(1)
	b.single = int(hi >> (64 - s.shardBits))
	b.order[0], b.lo[0], b.form[0], b.at[0] = hi<<s.shardBits, lo, form, 0
	b.fixed, b.alike = form.Fixed(), true
	b.record = append(b.record[:0], record)
	b.Out = append(b.out[:0], dedup.Unknown)
	b.out = b.Out
	err := s.Look(ctx, b, 0)
	return b.Out[0], err
}
