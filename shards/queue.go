package shards

import (
	"context"
	"slices"
)

// Seal seals the unflushed keys of every shard whose oldest one was logged below the given
// position: they keep the log's room from being reused until they are flushed.
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
// see sealWithin.
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

// Sealed returns how many sealed tables have not been published.
func (s *Set) Sealed() int { return int(s.nSealed.Load()) }

// Next takes the oldest sealed table that nobody took yet, or nil.
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
// that no look-up finds the keys in neither place: see secondLook.
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

// Install calls install with the shard locked; pending look-ups of the shard
// are repeated.
func (s *Set) Install(shard int, install func()) {
	sh := &s.shards[shard]
	sh.lockLater()
	install()
	sh.version++
	sh.mu.Unlock()
}

func (s *Set) wakeRoom() {
	s.queue.Lock()
	close(s.queue.room)
	s.queue.room = make(chan struct{})
	s.queue.Unlock()
}

// Refuse makes calls that wait for room fail with err, until Refuse(nil).
func (s *Set) Refuse(err error) {
	if err == nil {
		s.refusal.Store(nil)
		return
	}
	s.refusal.Store(&err)
	s.wakeRoom()
}

// waitRoom waits until a table has left or ctx ends, unless fewer than most are sealed. The
// channel is taken before the count is read: a table that leaves in between closes it.
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
// such keys it is end, the log's end as it was read before the call.
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
