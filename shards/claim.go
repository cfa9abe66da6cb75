package shards

import (
	"context"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
)

// hold gives the i-th key to the caller (I2: nobody has marked or claimed it, and mu is held
// since that was looked up). Neither filter nor log is told: a claim lives in memory only, and
// after a crash the message comes again. added counts it all the same, so that calls that are
// at their confirm look for it. The record is copied, because the key's own bytes are the
// caller's again when the call returns.
func (s *shard) hold(b *Batch, i int) {
	at, c := s.claims.add(b.order[i])
	to := b.at[i]
	c.lo, c.nonce, c.expires, c.form = b.lo[i], b.nonce+uint64(to), b.now+b.lease, b.form[i]
	if record := b.recordOf(i); record != nil {
		c.record = s.claims.spare.copyOf(record)
	}
	s.added++
	b.Out[to], b.held[to] = dedup.Fresh, newPlace(s.index, at)
	b.Counts.Fresh++
	b.Counts.Claimed++
}

// Commit marks the keys of the claims, at most MaxPiece, that their tokens still
// end, and sets lost[i] for the others. b.WaitPos is what to wait for. A lease
// that ended without another owner coming is still good: the handler did its
// work, and a mark is the best that can follow.
//
// Runs and tables are not asked for the keys. Nobody had marked them when they were claimed,
// and while a claim stands nobody else can (I2): answerClaimed comes before all else.
//
// An error leaves the shards that were not reached as they were: their claims stand, and can be
// committed again if it was ctx that ended.
func (s *Set) Commit(ctx context.Context, b *Batch, claims []dedup.Claim, now int64, lost []bool) error {
	b.op, b.now = opMark, now
	b.WaitPos, b.Counts = 0, Counts{}
	b.fresh.reset()
	s.routeTokens(b, claims, lost)
	for i := range s.shards {
		if from, to := int(b.start[i]), int(b.start[i+1]); from < to {
			if err := s.shards[i].commit(ctx, b, from, to, lost); err != nil {
				return err
			}
		}
	}
	return nil
}

// commit is Commit for the claims of one shard. Marks and ends of claims come under one lock: if
// a claim ended under a lock of its own, another caller could get Fresh for the key before it is
// marked (I2).
func (s *shard) commit(ctx context.Context, b *Batch, from, to int, lost []bool) error {
	if err := s.lockFor(ctx, b, to-from); err != nil {
		return err
	}
	defer s.mu.Unlock()
	n := from
	for k := from; k < to; k++ {
		c := s.claims.get(b.slots[k], b.numbers[k])
		if c == nil {
			lost[b.at[k]] = true
			b.Counts.Lost++
			continue
		}
		c.pinned = true // so that it is lost where it comes again in the call
		b.gather(n, k, c)
		n++
	}
	err := s.markGathered(b, from, n, nil)
	for i := from; i < n && err != nil; i++ { // those that were not marked stand
		if c := &s.claims.slots[b.slots[i]]; c.nonce != 0 {
			c.pinned = false
		}
	}
	return s.endPart(b, err)
}

// gather puts the k-th claim, which is going to be marked, at place n of the batch, so that its
// key stands there as a routed one. n is k at most, so only claims that were looked at are
// overwritten; their numbers stay behind, which nobody needs any more. The record is the claim's
// own memory: it holds until mu is unlocked, also when the claim has ended (spareRecords.keep).
func (b *Batch) gather(n, k int, c *claim) {
	b.at[n], b.slots[n] = b.at[k], b.slots[k]
	b.order[n], b.lo[n], b.form[n], b.record[n] = c.order, c.lo, c.form, c.record
}

// markGathered marks the keys of the claims that were gathered from from to to, and ends those that it
// has marked; marked, when not nil, is told which. A claim ends only once its key is in the
// table: after an error in between, the key is either marked or still claimed. mu is held until
// endPart has logged the marks.
func (s *shard) markGathered(b *Batch, from, to int, marked []bool) error {
	if s.set.c.Confirmer != nil && to-from > 1 && alike(b.form[from:to]) {
		return s.markAlike(b, from, to, marked)
	}
	for i := from; i < to; i++ {
		if s.set.c.Confirmer == nil {
			b.fresh.add(b, i)
		} else if err := s.mark(b, i); err != nil {
			return err
		}
		s.end(b, i, marked)
	}
	return nil
}

func alike(forms []hash.Form) bool {
	for _, f := range forms {
		if f != forms[0] {
			return false
		}
	}
	return true
}

// markAlike is markGathered for keys of one form. They are new and no two of them equal, since they
// were claimed: so they go into the table as admit puts new ones there, with nothing looked up.
// Unlike those they are in no filter yet, so inFilter stays false and logMarks adds them.
func (s *shard) markAlike(b *Batch, from, to int, marked []bool) error {
	t, err := s.tableFor(b, b.form[from], to-from) // may seal, as long as nothing of the part is marked
	if err != nil {
		return err
	}
	t.PrefetchUnused(to - from)
	t.Prefetch(b.order[from:to])
	m, pairs := &b.fresh, t.Unused(to-from)
	m.reset()
	for i := from; i < to; i++ {
		m.at, m.orders = append(m.at, int32(i)), append(m.orders, b.order[i])
		pairs[i-from] = keytable.Pair{s.hi(b.order[i]), b.lo[i]}
	}
	if t.HasRecords() {
		m.payload = t.AddRecords(m.at, b.record, pairs)
	} else {
		m.payload = keytable.Payload(pairs)
	}
	left := s.insertFresh(b, t)
	for _, i := range m.at {
		s.end(b, int(i), marked)
	}
	for _, i := range left { // made to collide: they go into a new table
		if err := s.mark(b, int(i)); err != nil {
			return err
		}
		s.end(b, int(i), marked)
	}
	return nil
}

// end ends the claim of a key that is marked. b.slots is by place in the batch since gather, and
// marked by place in the call.
func (s *shard) end(b *Batch, i int, marked []bool) {
	s.claims.remove(int(b.slots[i]))
	b.Counts.Committed++
	if marked != nil {
		marked[b.at[i]] = true
	}
}

// Release gives up the claims that their tokens still end and sets lost[i] for
// the others. It logs nothing, since no crash can bring a claim back, and it never waits for
// memory: a caller that can't commit must be able to give its keys to others.
func (s *Set) Release(b *Batch, claims []dedup.Claim, lost []bool) {
	b.Counts = Counts{}
	s.routeTokens(b, claims, lost)
	for i := range s.shards {
		from, to := int(b.start[i]), int(b.start[i+1])
		if from == to {
			continue
		}
		sh := &s.shards[i]
		sh.mu.Lock()
		for k := from; k < to; k++ {
			if sh.claims.get(b.slots[k], b.numbers[k]) == nil {
				lost[b.at[k]] = true
				b.Counts.Lost++
				continue
			}
			sh.claims.remove(int(b.slots[k]))
			b.Counts.Released++
		}
		sh.mu.Unlock()
	}
}

// routeTokens orders claims by the shards their tokens name. Claims without a
// shard of ours are lost; claims that hold nothing are left out.
//
// A token comes from the caller and may be anything, so shard and slot are checked before they
// are used (here and in claims.at). It says nothing of the key, which only its shard knows: the
// batch counts as of several forms with records, and gather fills in the rest.
func (s *Set) routeTokens(b *Batch, claims []dedup.Claim, lost []bool) {
	b.resize(len(claims))
	b.fixed, b.alike = false, false
	if cap(b.record) < b.n {
		b.record = make([][]byte, cap(b.order))
	}
	b.record = b.record[:b.n]
	if cap(b.tokens) < b.n {
		b.tokens, b.slots, b.numbers = make([]token, cap(b.order)), make([]uint32, cap(b.order)), make([]uint64, cap(b.order))
	}
	b.tokens, b.slots, b.numbers = b.tokens[:b.n], b.slots[:b.n], b.numbers[:b.n]
	b.Out = append(b.out[:0], make([]dedup.Verdict, b.n)...)
	b.out = b.Out
	count := b.start[:len(s.shards)+1]
	clear(count)
	// A claim is some 100 bytes long, so it is read once, and what matters is kept together.
	for i := range claims {
		c, t := &claims[i], token{shard: noShard}
		lost[i] = false
		if c.Verdict == dedup.Fresh {
			t = split(c.Token)
			if lost[i] = int(t.shard) >= len(s.shards) || t.number == 0; lost[i] {
				t.shard = noShard
				b.Counts.Lost++
			} else {
				count[t.shard+1]++
			}
		}
		b.tokens[i] = t
	}
	for i := 1; i < len(count); i++ {
		count[i] += count[i-1]
	}
	for i := range b.tokens {
		if t := &b.tokens[i]; t.shard != noShard {
			at := count[t.shard]
			count[t.shard]++
			b.at[at], b.slots[at], b.numbers[at] = int32(i), t.slot, t.number
		}
	}
	copy(count[1:], count)
	count[0] = 0
}

// Extend sets the end of a claim's lease; ok is false if the token doesn't end
// a claim any more, or if a commit has pinned it. A lease that has ended is good for it too, as
// long as nobody else came: then nobody was told that the key is free.
func (s *Set) Extend(c dedup.Claim, expires int64) (ok bool) {
	t := split(c.Token)
	if int(t.shard) >= len(s.shards) {
		return false
	}
	sh := &s.shards[t.shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	held := sh.claims.get(t.slot, t.number)
	if held == nil {
		return false
	}
	held.expires = expires
	return true
}

// Sweep frees claims whose lease ended before the given time and returns how
// many: nobody asked for their keys since, or they would be gone. The time should lie well
// before now, since a late commit of a swept claim is lost. It goes in pieces of MaxPiece slots,
// so that a call waits for one of them at most. Claims may come and go between two pieces: the
// slots do not move, so at worst one is missed until the next sweep. One goroutine calls it.
func (s *Set) Sweep(before int64) (swept uint64) {
	for i := range s.shards {
		sh := &s.shards[i]
		for {
			sh.lockLater()
			next, n := sh.claims.sweep(sh.sweepAt, MaxPiece, before)
			sh.sweepAt = next
			sh.mu.Unlock()
			swept += n
			if next == 0 {
				break
			}
		}
	}
	return swept
}

// Forget takes back the marks of one key, the only one of b. The key's claims stay: who holds
// one has been told Fresh, and its commit marks the key anew. The filter's bits stay as well,
// since other keys may share them; a later "maybe" is settled by the tombstone. It takes no room
// in a table, so it does not wait for memory as a mark does.
func (s *Set) Forget(b *Batch, now int64) error {
	b.op, b.now = opMark, now
	b.WaitPos, b.Counts = 0, Counts{}
	sh := &s.shards[b.single]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.forget(b.form[0], b.order[0], b.lo[0], b.recordOf(0))
	b.fresh.reset()
	b.fresh.add(b, 0)
	err := sh.log(b, Forget)
	b.fresh.reset()
	return err
}

// forget deletes the key from the active table and lays a tombstone over what older tables and
// runs hold. Those can't be changed: a flush may be reading them, with no lock. The tombstone has
// the active table's own number and overrides lower ones only, so the key may be marked again in
// the same table. It lies there for its flush, and in tombs for look-ups. mu is held.
func (s *shard) forget(form hash.Form, order, lo uint64, record []byte) {
	h := s.hi(order)
	if t := s.active.tables[form]; t != nil && t.Delete(order, h, lo, record) {
		s.active.keys--
	}
	record = append([]byte(nil), record...)
	s.active.Tombstones = append(s.active.Tombstones, Tombstone{Form: form, Hi: h, Lo: lo, Record: record})
	s.tombs[tombKey(form, h, lo, record)] = tombstoned{seq: s.seq, generation: s.active.Generation}
}
