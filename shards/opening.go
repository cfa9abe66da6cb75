package shards

// What an opening does, before the first call and in this order: AssignSlots, AddGeneration and
// SetOldest; PlaceRun, SetSeq and AddTombstone, run by run; MergeColumn or AddOrders; Replay.
// Runs come before the log, so that its tables and tombstones get higher numbers than all of them.
// Several goroutines may call AddOrders for different shards.

// SetOldest names the oldest generation that counts, at opening.
func (s *Set) SetOldest(oldest uint64) {
	s.oldest.Store(oldest)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.oldest = oldest
		sh.mu.Unlock()
	}
}

// AddGeneration makes a generation count, at opening; lost says that runs of it are
// missing, blind that its filter can't be had either. It may be called again when a gap turns up.
// A gap is noted for the slot, as a mask tells nothing else. So keys of whole generations that
// share it are Unknown too where they can't be found: too careful, but never a wrong Fresh (I5).
func (s *Set) AddGeneration(generation uint64, lost, blind bool) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.assign(generation)
		mask := sh.slots.of(generation)
		for i := range sh.lostAt {
			if mask>>i&1 != 0 && (lost || blind) {
				sh.lostAt[i] = max(sh.lostAt[i], generation)
			}
		}
		if lost {
			sh.lost |= mask
		}
		if blind {
			sh.blind |= mask
		}
		sh.mu.Unlock()
	}
}

// assign gives a generation a slot, at opening, unless it has one.
func (s *shard) assign(generation uint64) {
	t := &s.slots
	switch {
	case t.of(generation) != 0:
	case s.set.c.Confirmer == nil:
		t.give(int(generation%uint64(t.n)), generation)
	case t.free() > 0:
		t.take(generation)
	default: // AssignSlots says otherwise where there are many
		t.slot[s.slot].first = min(t.slot[s.slot].first, generation)
	}
	s.inUse = t.used
}

// AssignSlots gives slots to the generations of a directory that is being opened, oldest first,
// with the keys that each one has; the last one is live. Where they are more than slots, several
// share one. A generation gets the next slot while enough are left for all that follow, or when
// the one before has its share already.
func (s *Set) AssignSlots(first uint64, keys []uint64) {
	total := uint64(0)
	for _, n := range keys {
		total += n
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		t := &sh.slots
		*t = newSlots(s.c.Filter)
		for k, n := range keys {
			g := first + uint64(k)
			n /= uint64(len(s.shards))
			last := &t.slot[sh.slot]
			switch {
			case s.c.Confirmer == nil:
				sh.slot = int(g % uint64(t.n))
				t.give(sh.slot, g)
			case k == 0 || t.free() >= len(keys)-k || t.free() > 0 && last.keys+n/2 > total/uint64(t.n*len(s.shards)):
				sh.slot, _ = t.take(g)
			default:
				last.last = g
			}
			t.slot[sh.slot].keys += n
		}
		for j := range t.n {
			t.slot[j].keys = 0 // PlaceRun counts them
		}
		sh.inUse, sh.active.Slot = t.used, sh.slot
		sh.mu.Unlock()
	}
}

// PlaceRun returns the slot for a run of so many keys, at opening; runs come by generation
// and in their order. whole says that the generation must stay in one slot: its bits may come from
// a snapshot, which does not tell which run a key is in.
func (s *Set) PlaceRun(shard int, generation, keys uint64, whole bool) int {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.assign(generation)
	t := &sh.slots
	slot := t.newest(generation)
	// One stays free, for the next generation.
	if !whole && t.slot[slot].keys > 0 && !t.takes(slot, keys) && t.free() > 1 {
		was := slot
		slot, _ = t.take(generation)
		if was == sh.slot && generation == sh.generation {
			sh.slot, sh.active.Slot = slot, slot
		}
	}
	t.slot[slot].keys += keys
	sh.inUse = t.used
	return slot
}

// SetSeq raises the sequence number of a shard's active table to at least seq, at
// opening.
func (s *Set) SetSeq(shard int, seq uint64) {
	sh := &s.shards[shard]
	sh.mu.Lock()
	sh.seq = max(sh.seq, seq)
	sh.active.Seq = sh.seq
	sh.mu.Unlock()
}

// AddTombstone lays a tombstone that a run keeps, at opening. Several runs may have one for the
// key: the newest overrides all that the others do.
func (s *Set) AddTombstone(shard int, t Tombstone, seq, generation uint64) {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	k := tombKey(t.Form, t.Hi, t.Lo, t.Record)
	if old, ok := sh.tombs[k]; !ok || old.seq < seq {
		sh.tombs[k] = tombstoned{seq, generation}
	}
}

// AddOrders adds keys of one shard, by their orders, to a slot of the filter, to rebuild it.
func (s *Set) AddOrders(shard, slot int, orders []uint64) {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	(*sh.filter.Load()).AddBatch(slot, orders)
}
