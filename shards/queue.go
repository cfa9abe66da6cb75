package shards

import (
	"context"
	"slices"
)

// Seal seals the unflushed keys of every shard whose oldest one was logged below the given
// position: they keep the log's room from being reused until they are flushed. It does not wait
// for memory as lockFor does. Its caller wants room in the log, which only a flush gives, and
// callers that mark may be waiting for that room already.
func (s *Set) Seal(below uint64) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		if !sh.active.empty() && sh.active.first < below {
			sh.seal()
		}
		sh.mu.Unlock()
	}
}

// seal closes the active table and queues it for the flush. What it held is logged already:
// see sealWithin. It does not raise the version: the keys stay in memory, where the second look
// asks for them. mu is held.
//
// The wake-up comes last. A flusher that was woken before the table was in the queue could find
// the queue empty and sleep on.
func (s *shard) seal() {
	if s.active.empty() {
		// It may have memory all the same, which the next keys take: tableFor comes before it is
		// known whether any key of the part is new.
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

// Sealed returns how many sealed tables have not been published.
func (s *Set) Sealed() int { return int(s.nSealed.Load()) }

// Next takes the oldest sealed table that nobody took yet, or nil. The table stays in its
// shard's sealed ones, and is asked for keys, until Published. Only one goroutine at a time may
// call Next and PutBack, or tables of a shard could change their order between the two.
func (s *Set) Next() *Unflushed {
	s.queue.Lock()
	defer s.queue.Unlock()
	if len(s.queue.tables) == 0 {
		return nil
	}
	u := s.queue.tables[0]
	s.queue.tables = s.queue.tables[1:]
	return u
}

// PutBack undoes Next: the tables, in the order they were taken, come first again.
// A shard's tables must be flushed in their order, since its runs say how far in
// the log they reach.
func (s *Set) PutBack(tables []*Unflushed) {
	s.queue.Lock()
	defer s.queue.Unlock()
	s.queue.tables = append(slices.Clone(tables), s.queue.tables...)
}

// Published takes a flushed table out of memory. install, called with the shard locked, makes
// its runs visible to the Confirmer. Both happen under one lock, and the version is raised, so
// that no look-up finds the keys in neither place: see secondLook. The runs must be durable and
// named by the manifest, and so must the frames: a Duplicate that a run says waits for nothing.
//
// What follows the unlock has its order too. The table's memory goes to the pool once nobody can
// reach it: look-ups have read it with the shard locked, and prefetches need no valid memory.
// Only then the count goes down and callers are woken, since they come for that memory.
func (s *Set) Published(u *Unflushed, install func()) {
	sh := &s.shards[u.Shard]
	sh.lockLater()
	install()
	for i, t := range sh.sealed {
		if t == u {
			sh.sealed = append(sh.sealed[:i:i], sh.sealed[i+1:]...)
			break
		}
	}
	sh.version++
	sh.mu.Unlock()
	for _, t := range u.tables {
		s.pool.Recycle(t)
	}
	s.nSealed.Add(-1)
	s.wakeRoom()
}

// Install changes the runs of a shard: it calls install with the shard locked. Raising the
// version makes pending look-ups of the shard ask again, since what they have asked may have
// left the list.
func (s *Set) Install(shard int, install func()) {
	sh := &s.shards[shard]
	sh.lockLater()
	install()
	sh.version++
	sh.mu.Unlock()
}

// wakeRoom wakes all calls that wait for room. What they are going to read, the count of sealed
// tables or the refusal, must be stored before: see waitRoom. A closed channel wakes everybody,
// and those that find no room after all take the new one.
func (s *Set) wakeRoom() {
	s.queue.Lock()
	close(s.queue.room)
	s.queue.room = make(chan struct{})
	s.queue.Unlock()
}

// Refuse makes calls that wait for room fail with err, until Refuse(nil). Without it they would
// wait for a flush that does not come: the disk is full, or the engine has failed. Calls that
// find room are not refused here: the engine does that before it lets them in.
func (s *Set) Refuse(err error) {
	if err == nil {
		s.refusal.Store(nil)
		return
	}
	s.refusal.Store(&err)
	s.wakeRoom()
}

// waitRoom waits until a table has left or ctx ends, unless fewer than most are sealed. No lock
// may be held. The channel is taken before refusal and count are read. The other way round a
// wake-up could be lost:
//
//  1. The caller reads the count: too many are sealed.
//  2. Published lowers it, closes the channel and puts a new one in its place.
//  3. The caller takes the new channel and waits. If that was the last table, nobody closes it.
//
// As it is, step 2 closes the channel that the caller has. A wake-up promises nothing: other
// callers may have taken the room, so lockFor looks again.
func (s *Set) waitRoom(ctx context.Context, most int64) error {
	s.queue.Lock()
	room := s.queue.room
	s.queue.Unlock()
	if err := s.refusal.Load(); err != nil {
		return *err
	}
	if s.nSealed.Load() < most {
		return nil
	}
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// lockFor locks the shard. If the call may mark keys, the active table has room for n more
// then, and a full one was sealed. This is the backpressure of a disk that is slower than the
// callers: while MaxSealed tables wait for their flush it waits, with nothing locked. Rotations
// seal without asking and may bring about more than MaxSealed; then there is no memory for a
// table that is not begun.
//
// The shard must be unlocked meanwhile. The flush ends with Published, which locks it to take
// the table away: a caller that waited with the shard locked would wait for itself (I8).
//
// Look-ups never wait here, and claims only where they may refresh: they put nothing into
// tables. Nor does any call without a store, where nothing is ever flushed. After an error the
// shard is not locked.
func (s *shard) lockFor(ctx context.Context, b *Batch, n int) error {
	marks := s.set.c.Confirmer != nil && (b.op == opMark || s.refreshes(b))
	for waited := false; ; waited = true {
		s.mu.Lock()
		begun, most := !s.active.empty(), int64(s.set.c.MaxSealed)
		if !marks || begun && s.active.room(n, int(s.set.maxKeys.Load())) {
			return nil
		}
		// The slot may change here, since nothing of the part is in the filter yet: its
		// bits and its table will agree on the slot.
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

// LogTail returns the log position below which a replay needs no frame, once the tables in
// done are runs that the manifest names: the first frame of any other unflushed key. Without
// such keys it is end, the log's end as it was read before the call. It must be that old, since
// the shards are looked at one by one: a key that comes in one that was passed already has its
// frame at or behind end. With an end that was read later, the tail could pass that frame, and
// the next opening would not read it (I1).
func (s *Set) LogTail(end uint64, done map[*Unflushed]bool) uint64 {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		for _, u := range sh.sealed {
			if !done[u] {
				end = min(end, u.first)
			}
		}
		if !sh.active.empty() {
			end = min(end, sh.active.first)
		}
		sh.mu.Unlock()
	}
	return end
}
