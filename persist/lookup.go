package persist

import (
	"encoding/binary"
	"runtime/debug"
	"slices"
	"time"

	"github.com/firstseen/firstseen/internal/prefetch"
	"github.com/firstseen/firstseen/internal/vfs"
)

// A Query asks a run for one key.
type Query struct {
	Run    *Run
	Order  uint64
	Lo     uint64 // fixed forms
	Record []byte // variable forms
	Index  int32  // the caller's
	// Older says that this asks an older run for the key of the query before, which
	// is not needed where that one, or one before it, was found.
	Older bool
	Found bool   // set by Confirm: the run holds the key
	Mark  uint32 // the caller's

	block uint32 // set by prefetchIndex
	rest  uint64 // see blockOf
	// data is the block with its checksum, a slice of a mapped file: it may be read only
	// while Confirm has the segment pinned.
	data []byte
}

// A Lookup confirms keys of many runs at once, for one goroutine at a time. The
// zero value is ready; keep it, so that confirming allocates nothing.
type Lookup struct {
	Asked int // queries that the last Confirm answered; it left the needless ones out
	// Waited is how long the last Confirm took, where it and the one before waited for the disk.
	Waited time.Duration

	qs     []Query
	at     int        // the query under way, by which leave tells what a fault is of
	pinned []*Segment // each once; empty between two Confirms
	cold   bool       // the last Confirm of coldFrom queries or more seems to have waited for the disk
}

// How many queries ahead of their use the index entry and the block of a query are prefetched.
// A block is four lines or so. Blocks 4 to 32 ahead are all the same within the noise
// (docs/performance.md).
const (
	indexAhead = 24
	blockAhead = 12
)

// Confirm answers all of qs. Each time a block is searched its checksum is checked (I5):
// damage is a *dedup.CorruptError, and then the queries from that one on are unanswered. If a
// segment was closed the error is ErrRetired, and no query is answered; Refused tells which.
//
// All segments are pinned before the first block is read and unpinned at the end, so that no
// mapping goes away in between. Values are slices of mapped files: a page that the disk can't
// give, or that somebody cut off, is a fault. Here it becomes a panic, and leave makes an
// error of that. The setting is the goroutine's, so other code of the process is not concerned.
func (l *Lookup) Confirm(qs []Query) (err error) {
	l.qs, l.at, l.Asked, l.Waited = qs, 0, 0, 0
	defer l.leave(debug.SetPanicOnFault(true), &err)
	for ; l.at < len(qs); l.at++ {
		if !l.pin(qs[l.at].Run.seg) {
			return ErrRetired
		}
	}
	l.at = 0
	if len(qs) >= coldFrom {
		defer l.took(time.Now())
	}
	if l.cold && len(qs) > 1 {
		readBlocks(qs)
	}
	found := false
	indexes, blocks := 0, 0
	for l.at = range qs {
		for ; indexes < min(l.at+indexAhead, len(qs)); indexes++ {
			qs[indexes].prefetchIndex()
		}
		for ; blocks < min(l.at+blockAhead, len(qs)); blocks++ {
			qs[blocks].prefetchBlock()
		}
		q := &qs[l.at]
		if found && q.Older {
			continue
		}
		if found, err = q.answer(); err != nil {
			return err
		}
		q.Found = found
		l.Asked++
	}
	return nil
}

// If a Confirm of at least coldFrom queries takes longer than coldQuery per query, its blocks
// most likely came from the disk: the runs are larger than the page cache. Then the next one
// asks the disk for all of its blocks at once: 12 µs per key instead of 62 where nothing is in
// memory (BenchmarkConfirmCold), but twice the time where everything is.
const (
	coldFrom  = 16
	coldQuery = 3 * time.Microsecond
)

// took notes how long a Confirm took that began at start. Where blocks are asked for at once,
// one whose blocks are all in memory takes twice the time. So it takes twice coldQuery to stay
// cold, or runs that fit into memory would never count as warm again.
func (l *Lookup) took(start time.Time) {
	d, limit := time.Since(start), time.Duration(len(l.qs))*coldQuery
	if l.cold && d > 2*limit {
		l.Waited = d // the first slow one may have lost its processor
	}
	l.cold = d > 2*limit || !l.cold && d > limit
}

// readBlocks asks the disk for the blocks that will be searched in any case: not for those of
// older runs, which are needless where a newer one has the key.
func readBlocks(qs []Query) {
	for i := range qs {
		if q := &qs[i]; !q.Older {
			block, _ := blockOf(q.Order, q.Run.meta.Blocks)
			vfs.AdviseNeeded(q.Run.blockData(block))
		}
	}
}

// Refused returns the query whose segment was closed, after ErrRetired.
func (l *Lookup) Refused() *Query { return &l.qs[l.at] }

// pin keeps a segment open until leave.
func (l *Lookup) pin(s *Segment) bool {
	if slices.Contains(l.pinned, s) {
		return true
	}
	if !s.pins.pin() {
		return false
	}
	l.pinned = append(l.pinned, s)
	return true
}

// prefetchIndex finds the query's block, and prefetches where it begins and ends.
func (q *Query) prefetchIndex() {
	r := q.Run
	q.block, q.rest = blockOf(q.Order, r.meta.Blocks)
	prefetch.Bytes(r.indexAddress(q.block), 8)
}

// prefetchBlock comes blockAhead before the answer, when the index entry has come.
func (q *Query) prefetchBlock() {
	q.data = q.Run.blockData(q.block)
	prefetch.Bytes(address(q.data), len(q.data))
}

func (q *Query) answer() (found bool, err error) {
	r := q.Run
	records := q.data[:len(q.data)-blockSum]
	if checksum(records) != binary.LittleEndian.Uint32(q.data[len(records):]) {
		return false, r.damageAt(q.block, "wrong checksum")
	}
	if fixedForm(r.meta.Form) {
		return r.layout.find(records, q.block, q.rest, q.Order, q.Lo), nil
	}
	return findBytes(records, q.Record), nil
}

// leave ends Confirm, also when it panicked.
func (l *Lookup) leave(fault bool, err *error) {
	debug.SetPanicOnFault(fault)
	if p := recover(); p != nil {
		q := &l.qs[l.at]
		*err = q.Run.damageAt(q.block, "reading it: %v", p)
	}
	for i, s := range l.pinned {
		s.pins.unpin()
		l.pinned[i] = nil
	}
	l.pinned = l.pinned[:0]
}
