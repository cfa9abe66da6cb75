package shards

import (
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
)

// TableSets is how many full tables a shard has memory for: the active one, the one that takes
// its place at a rotation, when all shards seal at once, and one more, since a fast stream
// reaches the next rotation before the flush has given all tables back. With two, p99.9 was
// 3 ms instead of 1.5 (docs/decisions/010).
const TableSets = 3

// fullKeys is the number of keys that a full table has room for.
func (s *Set) fullKeys() int { return int(s.maxKeys.Load()) + MaxPiece }

// Warm makes the memory of a shard resident before calls come, since the first touch costs a
// caller up to 3 ms per MB: that of its filter and of so many full tables. record is how many
// bytes a record is expected to take, its length included, or 0 where none are expected. Warm
// may run for several shards at once.
func (s *Set) Warm(shard, tables, record int) error {
	(*s.shards[shard].filter.Load()).Touch()
	for range tables {
		if err := s.pool.Warm(record); err != nil {
			return err
		}
	}
	return nil
}

// SetMaxKeys changes Config.MaxKeys. It first makes that many tables of the new size resident
// as ahead says: the first touch would take a caller up to 3 ms per MB.
func (s *Set) SetMaxKeys(keys, ahead int) error {
	if err := s.pool.Resize(keys+MaxPiece, ahead); err != nil {
		return err
	}
	s.maxKeys.Store(int64(keys))
	s.filled.Store(0)
	return nil
}

// HasRecords reports whether keys of variable length have come: tables for them take
// ArenaPerKey bytes per key more.
func (s *Set) HasRecords() bool { return s.records.Load() }

// MaxKeys returns Config.MaxKeys as it is now.
func (s *Set) MaxKeys() int { return int(s.maxKeys.Load()) }

// Filled returns how many tables were sealed because they were full since the live generation
// began, or SetMaxKeys.
func (s *Set) Filled() int { return int(s.filled.Load()) }

// WantsTables reports whether it is time for AddTables: no full table is ready to take the
// place of the active ones, those are a quarter full, and there are fewer full tables than
// TableSets per shard. A quiet stream seals nothing, and would get memory that it never uses.
func (s *Set) WantsTables() bool {
	if s.pool.Ready() > 0 {
		return false
	}
	unflushed, most, full := 0, s.MaxKeys(), 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lockLater()
		unflushed += sh.active.keys
		for _, u := range append(sh.sealed, sh.active) {
			for _, t := range u.tables {
				if t != nil && t.Cap() == s.fullKeys() {
					full++
				}
			}
		}
		sh.mu.Unlock()
	}
	return 4*unflushed > most*len(s.shards) && full < TableSets*len(s.shards)
}

// AddTables makes full tables resident, one for each shard, since a rotation seals all shards at
// once. It takes long and locks no shard: it is for a goroutine that nobody waits for.
func (s *Set) AddTables() error {
	for range s.shards {
		if err := s.pool.Warm(0); err != nil {
			return err
		}
	}
	return nil
}

// firstKeys is how many keys the first table of a form is made for, where no full one is ready.
const firstKeys = 512

// moveMost is how many keys are moved into a larger table at most, in a millisecond: more of
// them are sealed, and become a run of their own.
const moveMost = 16 << 10

// tableFor returns the active table of a form with room for n more keys, at most
// MaxPiece. mu is held. It may seal, so a table that was had before is not the active one any
// more, and what is in b.fresh is logged. lockFor has made sure that a full table would have
// room for the part, whatever its forms, but not that this one has grown so far.
func (s *shard) tableFor(b *Batch, form hash.Form, n int) (*keytable.Table, error) {
	for {
		t := s.active.tables[form]
		if t != nil && t.Room(n) && t.RecordRoom(1) {
			return t, nil
		}
		if err := s.growTable(b, form, n); err != nil {
			return nil, err
		}
	}
}

// growTable makes the first table of a form, or a larger one, for n more keys. The last step goes
// to the full size, which the pool recycles. If the pool has one no time is spent on smaller ones.
// It need not be enough for n: tableFor asks again. mu is held.
func (s *shard) growTable(b *Batch, form hash.Form, n int) error {
	old, most, keys := s.active.tables[form], s.set.fullKeys(), firstKeys
	// Its arena is full, or it has more keys than a full table takes, as after SetMaxKeys has
	// made full ones smaller.
	full := old != nil && (old.Len()+n > most || !old.RecordRoom(1))
	if full {
		s.set.filled.Add(1)
	}
	t := s.set.pool.Full(most)
	switch {
	case full || old != nil && s.sealsSmall(old, most, t != nil):
		if err := s.sealWithin(b); err != nil {
			s.set.pool.Recycle(t)
			return err
		}
		old = nil
	case old != nil:
		keys = 2 * old.Cap()
	}
	if t == nil {
		if 2*keys > most {
			keys = most
		}
		var err error
		if t, err = keytable.New(keys); err != nil {
			return err
		}
	}
	return s.replaceTable(b, form, n, old, t)
}

// sealsSmall reports whether a table that is not full is sealed all the same, to become a run of
// its own: if a full one is ready but this one has too many keys to move, or if a full one is on
// its way and another small one has to do meanwhile. The first touch of a new full one costs a
// caller 3 ms per MB, which was 0.1 to 0.3 s at a rotation under full load (docs/decisions/010).
func (s *shard) sealsSmall(t *keytable.Table, most int, ready bool) bool {
	if ready {
		return t.Len() > moveMost
	}
	return t.Len() > 0 && 4*t.Cap() > most && s.fullComing(most)
}

// replaceTable makes t the active table of a form, with the keys of old where there is one. Grow
// tells by the pointer that the memory has changed: see addPiece. mu is held. t belongs to the
// shard from here on, or to the pool after an error.
func (s *shard) replaceTable(b *Batch, form hash.Form, n int, old, t *keytable.Table) error {
	switch {
	case old != nil:
		if !old.MoveTo(t, s.set.shardBits) {
			// Colliding keys: start a new table instead.
			s.set.pool.Recycle(t)
			if err := s.sealWithin(b); err != nil {
				return err
			}
			return s.growTable(b, form, n)
		}
		s.set.pool.Recycle(old)
	case !form.Fixed():
		s.set.records.Store(true)
		if err := s.set.pool.AddArena(t); err != nil {
			s.set.pool.Recycle(t)
			return err
		}
	}
	s.active.tables[form] = t
	s.hint[form].Store(t)
	return nil
}

// fullComing reports whether a table for that many keys is on its way back to the pool: it
// waits for its flush or its clearing. It is no if one more sealed table would make callers
// wait. Only the shard's own sealed tables are looked at, since mu guards no others; the pool
// speaks for those of all shards that wait for their clearing.
func (s *shard) fullComing(keys int) bool {
	if s.set.nSealed.Load() >= int64(s.set.c.MaxSealed) {
		return false
	}
	for _, u := range s.sealed {
		for _, t := range u.tables {
			if t != nil && t.Cap() == keys {
				return true
			}
		}
	}
	return s.set.pool.Clearing()
}
