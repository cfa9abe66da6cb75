package shards

import (
	"runtime"
	"slices"
	"sync"

	"github.com/firstseen/firstseen/internal/mem"
)

// A pool keeps the memory of flushed tables for the next ones: the first touch
// of new memory in a caller costs 75 to 100 ms a table of a million keys.
// Returned regions are cleared by whoever calls clean, in the background.
type pool struct {
	mu struct {
		sync.Mutex
		clean, dirty []*mem.Region
		limit        int // regions of a size that are kept
	}
}

// get returns a zeroed region of the given size.
func (p *pool) get(bytes int) (*mem.Region, error) {
	if r := p.recycled(bytes); r != nil {
		return r, nil
	}
	return mem.Alloc(bytes)
}

// recycled returns a clean region that was touched before, or nil.
func (p *pool) recycled(bytes int) *mem.Region {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range p.mu.clean {
		if 8*len(r.Uint64s()) == bytes {
			last := len(p.mu.clean) - 1
			p.mu.clean[i] = p.mu.clean[last]
			p.mu.clean = p.mu.clean[:last]
			return r
		}
	}
	return nil
}

// add puts a new, touched region of the given size among the clean ones.
func (p *pool) add(bytes int) error {
	r, err := mem.Alloc(bytes)
	if err != nil {
		return err
	}
	r.Touch()
	p.mu.Lock()
	p.mu.clean = append(p.mu.clean, r)
	p.mu.Unlock()
	return nil
}

// waits reports whether a region of the size waits for its clearing.
func (p *pool) waits(bytes int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.mu.dirty, func(r *mem.Region) bool { return len(r.Bytes()) == bytes })
}

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
		p.put(t.arena.region)
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

// resize frees the clean regions of other sizes, which nobody will ask for again.
func (p *pool) resize(table, arena int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.clean = slices.DeleteFunc(p.mu.clean, func(r *mem.Region) bool {
		size := len(r.Bytes())
		gone := size != table && size != arena
		if gone {
			r.Free()
		}
		return gone
	})
}

// cleanOne clears one returned region, or frees it if it has none of the sizes or
// there are enough clean ones of its size; it reports whether there was one.
func (p *pool) cleanOne(table, arena int) bool {
	p.mu.Lock()
	last := len(p.mu.dirty) - 1
	if last < 0 {
		p.mu.Unlock()
		return false
	}
	r := p.mu.dirty[last]
	p.mu.dirty = p.mu.dirty[:last]
	size, same := len(r.Bytes()), 0
	for _, c := range p.mu.clean {
		if len(c.Bytes()) == size {
			same++
		}
	}
	keep := same < p.mu.limit && (size == table || size == arena)
	p.mu.Unlock()
	if !keep {
		r.Free()
		return true
	}
	const piece = yieldEvery * pairSize / 8
	for words := r.Uint64s(); len(words) > 0; words = words[min(piece, len(words)):] {
		clear(words[:min(piece, len(words))])
		runtime.Gosched()
	}
	p.mu.Lock()
	p.mu.clean = append(p.mu.clean, r)
	p.mu.Unlock()
	return true
}

func (p *pool) bytes() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range [][]*mem.Region{p.mu.clean, p.mu.dirty} {
		for _, r := range list {
			n += int64(8 * len(r.Uint64s()))
		}
	}
	return n
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range [][]*mem.Region{p.mu.clean, p.mu.dirty} {
		for _, r := range list {
			r.Free()
		}
	}
	p.mu.clean, p.mu.dirty = nil, nil
}
