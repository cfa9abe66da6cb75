package persist

import "sync/atomic"

// pagesAhead is how many bytes of the ring before its end are kept ready for
// small batches, which are stores into the mapping: at a million calls a second
// what 16 ms take.
const pagesAhead = 1 << 20

// ringPages has the pages of the ring mapped before a small batch is stored into
// them and not any more when they are synced. The first store to a page is a fault
// in a call; and a page that is mapped when the kernel writes it back costs an
// interrupt of every processor, which is 15 µs of a call on a virtual machine.
type ringPages struct {
	wanted chan struct{} // nil where pages are left alone
	ahead  uint64        // how far: pagesAhead, or a smaller ring
	ready  atomic.Uint64 // position up to which pages are mapped, 0: none since the last sync
}

// wrote asks for more pages when half of those ahead are used.
func (p *ringPages) wrote(end Pos) {
	if end+p.ahead/2 > p.ready.Load() {
		select {
		case p.wanted <- struct{}{}:
		default: // it is asked already
		}
	}
}

// prefault is the goroutine that maps them.
func (j *Journal) prefault() {
	for {
		select {
		case <-j.stop:
			return
		case <-j.pages.wanted:
		}
		end := j.written.Load()
		from, to := max(end, j.pages.ready.Load()), end+j.pages.ahead
		j.eachPiece(from, to, mapPages)
		j.pages.ready.Store(to)
	}
}

// unmapWritten takes what is mapped of the ring, from the durable position on,
// out of the page table; a store meanwhile maps its page again.
func (j *Journal) unmapWritten(upTo Pos) {
	if ready := j.pages.ready.Swap(0); ready > 0 {
		j.eachPiece(j.durable.Load(), max(upTo, ready), unmapPages)
	}
}

// eachPiece calls do for the one or two pieces of the ring's mapping between two
// positions, of which there are at most a lap's.
func (j *Journal) eachPiece(from, to Pos, do func([]byte)) {
	for to = min(to, from+j.size); from < to; {
		at := from % j.size
		n := min(to-from, j.size-at)
		do(j.ring[at : at+n])
		from += n
	}
}
