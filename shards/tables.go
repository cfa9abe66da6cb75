package shards

import (
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
)

// TableSets is how many full tables a shard has memory for: the active one, the one
// that takes its place at a rotation, when all shards seal at once, and one more,
// since by the next rotation of a fast stream the flush has not given all back.
const TableSets = 3

// fullKeys is the number of keys that a full table has room for.
func (s *Set) fullKeys() int { return int(s.maxKeys.Load()) + MaxPart }

// Warm makes the memory of a shard resident, before calls come: its filter's and,
// that of some full tables, with that of their records where one is
// expected to take record bytes, its length included, and not 0. In
// a caller the first touch costs up to 3 ms a MB. It may run for several shards at once.
func (s *Set) Warm(shard, tables, record int) error {
	(*s.shards[shard].filter.Load()).Touch()
	for range tables {
		if err := s.pool.Warm(record); err != nil {
			return err
		}
	}
	return nil
}

// SetMaxKeys changes Config.MaxKeys. Where ahead is not 0, so many tables of the new size
// are made resident before: in a caller the first touch would take up to 3 ms a MB.
func (s *Set) SetMaxKeys(keys, ahead int) error {
	if err := s.pool.Resize(keys+MaxPart, ahead); err != nil {
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

// WantsTables reports whether no full table is ready to take the place of the active ones,
// those are a quarter full, and there are fewer than TableSets for each shard: see AddTables.
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

// AddTables makes full tables resident, one for each shard.
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

// tableFor returns the active table of a form with room for n more keys, at most
// MaxPart.
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

// growTable makes the first table of a form, or a larger one, for n more keys. A table
// whose arena is full can't grow, nor one that holds too many keys already, as SetMaxKeys
// may bring about: everything is sealed and a new one begun.
func (s *shard) growTable(b *Batch, form hash.Form, n int) error {
	old, most := s.active.tables[form], s.set.fullKeys()
	if old != nil && (old.Len()+n > most || !old.RecordRoom(1)) {
		s.set.filled.Add(1)
		if err := s.sealWithin(b); err != nil {
			return err
		}
		old = nil
	}
	keys := firstKeys
	if old != nil {
		keys = 2 * old.Cap()
	}
	// The last step goes to the size that is recycled. Where such a table is at
	// hand no time is spent on smaller ones; where it still waits for its flush, a
	// small one does meanwhile: the first touch of a new one costs a caller 3 ms per MB.
	t := s.set.pool.Full(most)
	if t == nil && old != nil && old.Len() > 0 && 2*keys > most && s.fullComing(most) {
		// It is still on its way: the small one is sealed as it is, another takes its place.
		if err := s.sealWithin(b); err != nil {
			return err
		}
		return s.growTable(b, form, n)
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

// replaceTable has t take the place of the active table of a form, or be the first one.
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

// fullComing reports whether a table for so many keys of the shard waits for its flush or its
// clearing, while there is room for one more to wait.
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
