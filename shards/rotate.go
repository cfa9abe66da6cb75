package shards

// Rotate makes generation the live one, shard by shard. The unflushed keys of the one before
// are sealed. The new one gets a free slot of the filter, or shares the last one where there
// is none; without a store one must be free. A call that overlaps may mark keys in the old
// generation in one shard and in the new one in another: each frame says in which.
//
// The caller has logged the rotation before, so that a replay knows the generation when it meets
// its first mark, and has calls of Rotate and Retire come one after the other. Unlike background
// work it queues for the locks, because it may be a call that rotates.
//
// The slot's bits count as zero at once and are cleared later, by Clear (docs/decisions/008).
func (s *Set) Rotate(generation uint64) {
	last := uint64(0)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		last += sh.live
		sh.rotate(generation)
		sh.mu.Unlock()
	}
	s.lastKeys.Store(last)
	s.filled.Store(0)
}

// rotate begins a generation in one shard. The version goes up, because the slot may be one that
// masks of pending keys name for what was in it before, and because the new slot is in none of
// them. The table is sealed before rotateSlot, since all keys of a table are in one slot and of
// one generation. mu is held.
func (s *shard) rotate(generation uint64) {
	s.generation, s.live = generation, 0
	s.version++
	s.seal()
	s.active.Generation = generation
	s.rotateSlot()
}

// Retire takes generations before oldest out of all answers (I4). Their slots are free, what
// the store still has of them is no longer asked, and their tombstones go. It comes before the
// Rotate that needs a free slot. Runs and sealed tables of those generations stay where they are
// for a while, and a newer generation may get their slot: so look-ups compare generations with
// oldest as well, which changes in the same step as the slots.
func (s *Set) Retire(oldest uint64) {
	s.oldest.Store(oldest)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.oldest = oldest
		sh.slots.retire(oldest)
		sh.growing.retire(oldest)
		sh.inUse = sh.slots.used
		for i, g := range sh.lostAt {
			if g < oldest {
				sh.blind &^= 1 << i
				sh.lost &^= 1 << i
			}
		}
		for k, t := range sh.tombs {
			if t.generation < oldest {
				delete(sh.tombs, k)
			}
		}
		sh.mu.Unlock()
	}
}

// Oldest returns the oldest generation that counts. Its slot's bit alone does
// not say so: what an older one left behind may have the same slot.
func (s *Set) Oldest() uint64 { return s.oldest.Load() }

// Clear does a bounded piece of the work that rotations and flushes left
// behind; it reports whether there may be more.
func (s *Set) Clear() (more bool) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		if (*sh.filter.Load()).ClearStep() {
			more = true
		}
		if sh.larger != nil && sh.larger.ClearStep() {
			more = true
		}
		sh.mu.Unlock()
	}
	return s.pool.ClearOne() || more
}

// Pos returns the log position behind the last frame of a shard. More may be logged as soon as it
// returns.
func (s *Set) Pos(shard int) uint64 {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.pos
}
