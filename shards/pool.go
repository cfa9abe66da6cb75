package shards

import (
	"runtime"
	"slices"
	"sync"

	"github.com/firstseen/firstseen/internal/mem"
)

// A pool keeps the memory of flushed tables and arenas for the next ones: the first
// touch of new memory costs a caller up to 3 ms a MB. The tables' indexes are cleared by
// whoever calls cleanOne, in the background; what else they hold, and an arena, does not
// matter.
type pool struct {
	mu struct {
		sync.Mutex
		table, arena int           // bytes of the regions that are kept
		index        int           // bytes of a table's region that have to be zero
		clean, dirty []*mem.Region // of tables
		arenas       []*mem.Region
		limit        int // regions of a kind that are kept
	}
}

// resize says how large full tables and arenas are from now on, and frees what
// nobody will ask for again; tables of that size may be ready.
func (p *pool) resize(table, index, arena int, ready []*mem.Region) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.table, p.mu.index, p.mu.arena = table, index, arena
	free := func(list []*mem.Region, bytes int) []*mem.Region {
		return slices.DeleteFunc(list, func(r *mem.Region) bool {
			gone := len(r.Bytes()) != bytes
			if gone {
				r.Free()
			}
			return gone
		})
	}
	p.mu.clean, p.mu.arenas = append(free(p.mu.clean, table), ready...), free(p.mu.arenas, arena)
}

// ready counts the full tables that could be had, now or after their clearing.
func (p *pool) ready() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.clean) + len(p.mu.dirty)
}

// full returns a clean region for a full table of so many bytes that was touched
// before, or nil.
func (p *pool) full(bytes int) *mem.Region {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bytes != p.mu.table {
		return nil // SetMaxKeys came in between
	}
	return pop(&p.mu.clean)
}

// anArena returns a region for an arena, of any content.
func (p *pool) anArena() (*mem.Region, error) {
	p.mu.Lock()
	r, bytes := pop(&p.mu.arenas), p.mu.arena
	p.mu.Unlock()
	if r != nil {
		return r, nil
	}
	return mem.Alloc(bytes)
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

// add puts a new region, of which the first bytes are touched, into a list of those that
// are ready for use.
func (p *pool) add(list *[]*mem.Region, bytes *int, touched int) error {
	p.mu.Lock()
	n := *bytes
	p.mu.Unlock()
	r, err := mem.Alloc(n)
	if err != nil {
		return err
	}
	r.TouchFirst(touched)
	p.mu.Lock()
	defer p.mu.Unlock()
	if *bytes != n {
		r.Free() // the size has changed meanwhile
		return nil
	}
	*list = append(*list, r)
	return nil
}

// waits reports whether a region of a full table waits for its clearing.
func (p *pool) waits() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.mu.dirty, func(r *mem.Region) bool { return len(r.Bytes()) == p.mu.table })
}

// put takes back the region of a table.
func (p *pool) put(r *mem.Region) {
	p.mu.Lock()
	p.mu.dirty = append(p.mu.dirty, r)
	p.mu.Unlock()
}

func (p *pool) putTable(t *table) {
	if t == nil {
		return
	}
	p.put(t.region)
	if t.arena != nil {
		p.keep(&p.mu.arenas, &p.mu.arena, t.arena.region)
	}
}

// keep adds a region to a list of those that are ready for use, or frees it where
// there are enough, or its size is not the one that is wanted.
func (p *pool) keep(list *[]*mem.Region, bytes *int, r *mem.Region) {
	p.mu.Lock()
	keep := len(*list) < p.mu.limit && len(r.Bytes()) == *bytes
	if keep {
		*list = append(*list, r)
	}
	p.mu.Unlock()
	if !keep {
		r.Free()
	}
}

func (t *table) free() {
	if t == nil {
		return
	}
	t.region.Free()
	if t.arena != nil {
		t.arena.region.Free()
	}
}

// cleanOne clears one returned region, or frees it; it reports whether there was one.
func (p *pool) cleanOne() bool {
	p.mu.Lock()
	r := pop(&p.mu.dirty)
	wanted := r != nil && len(r.Bytes()) == p.mu.table && len(p.mu.clean) < p.mu.limit
	index := p.mu.index
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
	p.keep(&p.mu.clean, &p.mu.table, r)
	return true
}

func (p *pool) bytes() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range [][]*mem.Region{p.mu.clean, p.mu.dirty, p.mu.arenas} {
		for _, r := range list {
			n += int64(len(r.Bytes()))
		}
	}
	return n
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range [][]*mem.Region{p.mu.clean, p.mu.dirty, p.mu.arenas} {
		for _, r := range list {
			r.Free()
		}
	}
	p.mu.clean, p.mu.dirty, p.mu.arenas = nil, nil, nil
}
