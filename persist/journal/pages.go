package journal

import (
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/internal/vfs"
)

const (
	// pagesFrom is how many bytes small batches store into the ring between two syncs
	// before its pages are mapped ahead of them: for fewer the faults don't matter,
	// and a page that is mapped ahead is written by the next sync, used or not.
	pagesFrom = 256 << 10
	// pagesAhead is how many bytes are mapped ahead at most; what was stored since the
	// last sync bounds it too, so a sync writes no more than twice of what it must.
	pagesAhead = 1 << 20
)

// ringPages has the pages of the ring mapped before a small batch is stored into
// them and not any more when they are synced. The first store to a page is a fault
// in a call; and a page that is mapped when the kernel writes it back costs an
// interrupt of every processor, which is 15 µs of a call on a virtual machine.
type ringPages struct {
	wanted chan struct{} // nil where pages are left alone
	stored atomic.Uint64 // bytes of small batches since the last sync
	ready  atomic.Uint64 // position up to which pages are mapped, 0: none since the last sync
	// syncing keeps pages from being mapped during a sync: the kernel would write them
	// too, and take back the right to store to them.
	syncing atomic.Bool
	// changing is held while pages are mapped ahead or unmapped, 1 ms at most.
	changing sync.Mutex
}

// ahead is how many bytes are to be mapped before the ring's end.
func (p *ringPages) ahead() uint64 {
	if stored := p.stored.Load(); stored >= pagesFrom && !p.syncing.Load() {
		return min(stored, pagesAhead)
	}
	return 0
}

// wrote asks for more pages when half of those ahead are used.
func (p *ringPages) wrote(bytes int, end Pos) {
	if p.wanted == nil {
		return
	}
	p.stored.Add(uint64(bytes))
	if ahead := p.ahead(); ahead > 0 && end+ahead/2 > p.ready.Load() {
		ask(p.wanted)
	}
}

// mapAhead maps them.
func (j *Journal) mapAhead() {
	p := &j.pages
	j.mu.Lock()
	free := j.mu.room.tail + j.size // what lies behind is in use
	j.mu.Unlock()
	p.changing.Lock()
	defer p.changing.Unlock()
	if ahead := p.ahead(); ahead > 0 { // else a sync came meanwhile
		ready, end := p.ready.Load(), j.written.Load()
		to, mapped := min(end+ahead, free), true
		j.eachPiece(max(end, ready), to, func(piece []byte) { mapped = mapped && vfs.MapPages(piece) })
		if !mapped {
			p.ready.Store(0)
			p.stored.Store(0) // not asked again for a while
			return
		}
		p.ready.Store(max(ready, to))
	}
}

// unmapWritten takes what was stored since the last sync, and what was mapped
// ahead, out of the page table; a store meanwhile maps its page again.
func (j *Journal) unmapWritten(upTo Pos) {
	p := &j.pages
	p.changing.Lock()
	defer p.changing.Unlock()
	p.syncing.Store(true)
	if p.stored.Swap(0) > 0 {
		j.eachPiece(j.durable.Load(), max(upTo, p.ready.Swap(0)), vfs.UnmapPages)
	}
}

// nearBytes is how much of the ring in front of the log is kept in memory: what is
// written while the disk reads it. It is asked for by nearStep, which takes some 10 µs
// where nothing is to be read.
const nearBytes, nearStep = 8 << 20, 1 << 20

// ringNear has the disk read what comes next of the ring, where the kernel has put it
// out of memory since the lap before. A write to a part of a block that isn't there reads
// it first, behind all that a sync has just given to the disk: calls of 20 ms and more came
// from that.
type ringNear struct {
	moved chan struct{} // nil where there is no map to go by
	asked atomic.Uint64 // position up to which the ring was asked for
}

// reached asks for what has come near.
func (n *ringNear) reached(end Pos) {
	if end+nearBytes-nearStep > n.asked.Load() {
		ask(n.moved)
	}
}

// bringIn asks for it, which may wait for the disk.
func (j *Journal) bringIn() {
	end := j.written.Load()
	j.eachPiece(max(end, j.near.asked.Load()), end+nearBytes, vfs.AdviseNeeded)
	j.near.asked.Store(end + nearBytes)
}

// ask wakes the goroutine behind wanted, unless it was asked already or there is none.
func ask(wanted chan<- struct{}) {
	select {
	case wanted <- struct{}{}:
	default:
	}
}

// whenAsked is a goroutine that does something each time it is asked to.
func (j *Journal) whenAsked(wanted <-chan struct{}, do func()) {
	for {
		select {
		case <-j.stop:
			return
		case <-wanted:
			do()
		}
	}
}

// eachPiece calls do for the one or two pieces of the ring's mapping between two
// positions, of which there are at most a lap's.
func (j *Journal) eachPiece(from, to Pos, do func([]byte)) {
	j.mu.Lock()
	there := j.mu.there
	j.mu.Unlock()
	for to = min(to, from+j.size); from < to; {
		at := from % j.size
		if at >= there {
			from += j.size - at // no log lies there
			continue
		}
		n := min(to-from, there-at)
		do(j.ring[at : at+n])
		from += n
	}
}
