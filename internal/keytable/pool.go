package keytable

import (
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/firstseen/firstseen/internal/mem"
)

// A Pool keeps the memory of full tables and their arenas from one use to the next: the
// first touch of new memory costs a caller up to 3 ms per MB. The index of a table that
// came back is cleared by whoever calls ClearOne, in the background; what else it holds,
// and an arena, does not matter.
//
// The zero Pool knows no size: Resize comes first.
type Pool struct {
	// mu is held for a few instructions, and while regions are freed: never while memory is
	// touched or cleared, as callers take it with their shard locked.
	mu struct {
		sync.Mutex
		keys   int           // that full tables are made for
		tables stock         // their indexes are zero, as newTable wants them
		arenas stock         // what they hold does not matter
		dirty  []*mem.Region // of tables, of any size, to be cleared or freed
		limit  int           // regions of a kind that are kept
	}
}

// A stock is regions of one size that are ready for use. It is guarded by Pool.mu.
type stock struct {
	bytes int // of each
	list  []*mem.Region
}

// SetLimit says how many tables, and arenas, are kept at most.
func (p *Pool) SetLimit(tables int) {
	p.mu.Lock()
	p.mu.limit = tables
	p.mu.Unlock()
}

// Resize says for how many keys full tables are made from now on, MaxInsert or more, makes
// some of that size resident, and frees what nobody will ask for again. After an error
// everything is as it was: the new regions are made before mu is taken and anything changes.
func (p *Pool) Resize(keys, resident int) error {
	var made []*mem.Region
	for range resident {
		r, err := mem.Alloc(tableBytes(keys))
		if err != nil {
			for _, r := range made {
				r.Free()
			}
			return err
		}
		r.Touch()
		made = append(made, r)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.keys = keys
	p.mu.tables.resize(tableBytes(keys))
	p.mu.tables.list = append(p.mu.tables.list, made...)
	p.mu.arenas.resize(arenaBytes(keys))
	return nil
}

// resize frees all regions of another size.
func (s *stock) resize(bytes int) {
	s.bytes = bytes
	s.list = slices.DeleteFunc(s.list, func(r *mem.Region) bool {
		gone := len(r.Bytes()) != bytes
		if gone {
			r.Free()
		}
		return gone
	})
}

// Ready counts the full tables that could be had, now or after their clearing.
func (p *Pool) Ready() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.tables.list) + len(p.mu.dirty)
}

// Clearing reports whether a full table waits for its clearing.
func (p *Pool) Clearing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.mu.dirty, func(r *mem.Region) bool { return len(r.Bytes()) == p.mu.tables.bytes })
}

// Full returns an empty table for so many keys whose memory was touched before. It is nil
// where there is none, or where Resize has named another size since.
func (p *Pool) Full(keys int) *Table {
	p.mu.Lock()
	defer p.mu.Unlock()
	if keys != p.mu.keys {
		return nil
	}
	if r := pop(&p.mu.tables.list); r != nil {
		return newTable(r, keys)
	}
	return nil
}

// AddArena has an empty table take keys with records.
func (p *Pool) AddArena(t *Table) error {
	p.mu.Lock()
	r, bytes := pop(&p.mu.arenas.list), p.mu.arenas.bytes
	p.mu.Unlock()
	if r == nil {
		var err error
		if r, err = mem.Alloc(bytes); err != nil {
			return err
		}
	}
	t.arena = newArena(r)
	return nil
}

// pop takes the last region of a list, nil if it is empty.
func pop(list *[]*mem.Region) *mem.Region {
	last := len(*list) - 1
	if last < 0 {
		return nil
	}
	r := (*list)[last]
	*list = (*list)[:last]
	return r
}

// Warm makes one more full table resident, and an arena for it with room for records of
// so many bytes each, their length included, where record is not 0. It may run for several
// tables at once.
func (p *Pool) Warm(record int) error {
	if err := p.warm(&p.mu.tables, math.MaxInt); err != nil || record == 0 {
		return err
	}
	p.mu.Lock()
	keys := p.mu.keys
	p.mu.Unlock()
	return p.warm(&p.mu.arenas, record*(keys-MaxInsert))
}

// warm adds a new region to a stock, of which the first bytes are touched.
func (p *Pool) warm(to *stock, touched int) error {
	p.mu.Lock()
	n := to.bytes
	p.mu.Unlock()
	r, err := mem.Alloc(n)
	if err != nil {
		return err
	}
	r.TouchFirst(touched)
	p.mu.Lock()
	defer p.mu.Unlock()
	if to.bytes != n {
		r.Free() // the size has changed meanwhile
		return nil
	}
	to.list = append(to.list, r)
	return nil
}

// Recycle takes back the memory of a table that is not used any more, its arena included.
// A nil table has none.
func (p *Pool) Recycle(t *Table) {
	if t == nil {
		return
	}
	p.mu.Lock()
	p.mu.dirty = append(p.mu.dirty, t.region)
	p.mu.Unlock()
	if t.arena != nil {
		p.keep(&p.mu.arenas, t.arena.region)
	}
}

// keep adds a region to a stock, or frees it where there are enough, or its size is not the
// one that is wanted.
func (p *Pool) keep(to *stock, r *mem.Region) {
	p.mu.Lock()
	keep := len(to.list) < p.mu.limit && len(r.Bytes()) == to.bytes
	if keep {
		to.list = append(to.list, r)
	}
	p.mu.Unlock()
	if !keep {
		r.Free()
	}
}

// ClearOne clears the index of one table that came back, or frees it; it reports whether
// there was one. It clears without mu:
//
//  1. The region leaves the list of dirty ones, so nobody else has it.
//  2. Its index is cleared, a piece at a time with a yield behind each, past the cache, so
//     that callers keep their lines (docs/decisions/008).
//  3. Resize may have named another size meanwhile, or the stock have become full: keep asks
//     again, and frees it then.
func (p *Pool) ClearOne() bool {
	p.mu.Lock()
	r := pop(&p.mu.dirty)
	wanted := r != nil && len(r.Bytes()) == p.mu.tables.bytes && len(p.mu.tables.list) < p.mu.limit
	index := indexBytes(p.mu.keys)
	p.mu.Unlock()
	if r == nil {
		return false
	}
	if !wanted {
		r.Free()
		return true
	}
	const piece = 128 << 10 / 8
	for words := r.Uint64s()[:index/8]; len(words) > 0; words = words[min(piece, len(words)):] {
		mem.Clear(words[:min(piece, len(words))])
		runtime.Gosched()
	}
	p.keep(&p.mu.tables, r)
	return true
}

// Bytes returns the memory that is kept.
func (p *Pool) Bytes() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range [][]*mem.Region{p.mu.tables.list, p.mu.dirty, p.mu.arenas.list} {
		for _, r := range list {
			n += int64(len(r.Bytes()))
		}
	}
	return n
}

// Close frees everything that is kept. No other call may run beside it.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range []*[]*mem.Region{&p.mu.tables.list, &p.mu.dirty, &p.mu.arenas.list} {
		for _, r := range *list {
			r.Free()
		}
		*list = nil
	}
}
