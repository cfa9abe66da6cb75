package journal

import (
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/internal/vfs"
)

const (
	// pagesFrom is how many bytes small batches must copy into the ring between two syncs
	// before its pages are mapped ahead of them. For fewer the faults don't matter, and the
	// next sync writes a page that was mapped ahead whether it was used or not.
	pagesFrom = 256 << 10
	// pagesAhead is how many bytes are mapped ahead at most. What was copied since the last
	// sync bounds it too, so that a sync writes no more than twice what it must.
	pagesAhead = 1 << 20
)

// ringPages maps the ring's pages before a small batch is copied into them, and unmaps them
// before they are synced. Otherwise the first store to a page is a page fault in a call, and
// a page that is mapped while the kernel writes it back interrupts every processor, which
// takes 15 µs of a call on a virtual machine. With both, the 99th percentile of a call for
// one key is 2 µs instead of 8 (docs/decisions/003).
type ringPages struct {
	wanted    chan struct{} // nil where pages are left alone
	sinceSync atomic.Uint64 // bytes of small batches since the last sync
	// ready is the position up to which pages are mapped, 0: none since the last sync. It is
	// written under changing, and read by canCopyLocked, which holds mu instead.
	ready atomic.Uint64
	// syncing keeps pages from being mapped during a sync: the kernel would write them
	// too, and take back the right to store to them. Whoever has set Journal.mu.syncing sets
	// it, under changing, and takes it back.
	syncing atomic.Bool
	// changing is held while pages are mapped ahead or unmapped, 1 ms at most.
	changing sync.Mutex
}

// ahead is how many bytes are to be mapped in front of the log's end.
func (p *ringPages) ahead() uint64 {
	if stored := p.sinceSync.Load(); stored >= pagesFrom && !p.syncing.Load() {
		return min(stored, pagesAhead)
	}
	return 0
}

// wrote asks for more pages when half of those ahead are used.
func (p *ringPages) wrote(bytes int, end Pos) {
	if p.wanted == nil {
		return
	}
	p.sinceSync.Add(uint64(bytes))
	if ahead := p.ahead(); ahead > 0 && end+ahead/2 > p.ready.Load() {
		ask(p.wanted)
	}
}

// mapAhead maps pages in front of the log's end. It runs in a goroutine of its own:
//
//  1. A call copies a batch into the ring and asks for pages (wrote).
//  2. Here a sync may have begun since. It has set syncing and cleared sinceSync, so ahead
//     is 0 and nothing is mapped: the kernel would write those pages with the sync.
//  3. Without a sync, ready is raised under changing, once the pages are there. From then
//     on canCopyLocked lets calls copy up to it.
func (j *Journal) mapAhead() {
	p := &j.pages
	j.mu.Lock()
	// Behind free lie live frames of the lap before, where nothing will be stored. The tail
	// only grows, so an old one maps too little and never too much.
	free := j.mu.room.tail + j.size
	j.mu.Unlock()
	p.changing.Lock()
	defer p.changing.Unlock()
	if ahead := p.ahead(); ahead > 0 { // else a sync came meanwhile
		ready, end := p.ready.Load(), j.written.Load()
		to, mapped := min(end+ahead, free), true
		j.eachPiece(max(end, ready), to, func(piece []byte) { mapped = mapped && vfs.MapPages(piece) })
		if !mapped {
			p.ready.Store(0)
			p.sinceSync.Store(0) // not asked again for a while
			return
		}
		p.ready.Store(max(ready, to))
	}
}

// unmapWritten takes what was copied since the last sync, and what was mapped ahead, out
// of the page table. The frames stay in the page cache; a store meanwhile maps its page
// again. The caller has set mu.syncing, so nobody makes such a store with mu held.
func (j *Journal) unmapWritten(upTo Pos) {
	p := &j.pages
	p.changing.Lock()
	defer p.changing.Unlock()
	p.syncing.Store(true)
	if p.sinceSync.Swap(0) > 0 {
		j.eachPiece(j.durable.Load(), max(upTo, p.ready.Swap(0)), vfs.UnmapPages)
	}
}

// readAheadBytes is how much of the ring in front of the log's end is kept in memory: more
// than is written while the disk reads it. It is asked for in pieces of readAheadStep, which
// take some 10 µs where there is nothing to read.
const readAheadBytes, readAheadStep = 8 << 20, 1 << 20

// ringReadAhead reads the part of the ring that the log will overwrite next, where the
// kernel has evicted it since the last lap. A write to a part of a block that is not in
// memory reads the block first, queued behind everything that a sync has just given to the
// disk. Calls of 20 ms and more came from that: 250 such reads in 30 s on a machine that
// takes unused memory back (docs/decisions/003).
type ringReadAhead struct {
	wanted chan struct{} // nil where there is no map to go by
	asked  atomic.Uint64 // position up to which the ring was read ahead; the goroutine alone stores it
}

// wrote asks for the next piece once the log, now written up to end, has come near it.
func (n *ringReadAhead) wrote(end Pos) {
	if end+readAheadBytes-readAheadStep > n.asked.Load() {
		ask(n.wanted)
	}
}

// readRingAhead reads ahead in a goroutine of its own, since it may wait for the disk.
func (j *Journal) readRingAhead() {
	end := j.written.Load()
	j.eachPiece(max(end, j.readAhead.asked.Load()), end+readAheadBytes, vfs.AdviseNeeded)
	j.readAhead.asked.Store(end + readAheadBytes)
}

// ask wakes the goroutine behind wanted. It does nothing if that was asked already, or if
// wanted is nil because there is no such goroutine.
func ask(wanted chan<- struct{}) {
	select {
	case wanted <- struct{}{}:
	default:
	}
}

// whenAsked is the body of a goroutine that runs do each time it is asked to, until Close.
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
	allocated := j.mu.allocated
	j.mu.Unlock()
	for to = min(to, from+j.size); from < to; {
		at := from % j.size
		if at >= allocated {
			from += j.size - at // no log lies there
			continue
		}
		n := min(to-from, allocated-at)
		do(j.ring[at : at+n])
		from += n
	}
}
