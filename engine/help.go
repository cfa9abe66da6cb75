package engine

import (
	"sync/atomic"

	"github.com/firstseen/firstseen/shards"
)

// While a batch is decided shard by shard, idle processors begin to confirm what is pending
// already: half of the time of a batch of duplicates goes there (docs/decisions/009).
const (
	// helpers is how many goroutines wait for a batch to confirm. Two, also where one
	// would do: Go puts who was woken next in line on the waker's own processor, from
	// where an idle one takes it 70 µs later; who is woken second pushes the first
	// into the queue, from where it is taken within 10 µs.
	helpers = 2

	// Pending keys are taken by pieces, half of what is left but within these: small
	// enough to end about together, large enough to overlap their misses.
	minHelpPiece, maxHelpPiece = 8, 64

	// A batch is worth a wake-up, which takes 5 µs, if at least one key in helpShare is
	// pending, and helpMin more.
	helpShare, helpMin = 32, 16

	// maxSpins is how often a caller looks whether the helpers' last pieces are done,
	// which takes some 10 µs, before it lets others run.
	maxSpins = 5000
)

// A sharedBatch is what the helpers have to know of a batch. It is kept with the batch:
// a helper that comes late finds it closed, or meets the next one.
type sharedBatch struct {
	b *shards.Batch // set once

	// pending has room for all that will be pending of the batch, so what a helper works at never
	// moves. It is set before state opens the batch, which publishes it. Only the first offered
	// of it may be read.
	pending []shards.Pending
	oldest  atomic.Uint64 // see Batch.Oldest
	// offered is how many of pending may be confirmed. The caller stores it, after it has written
	// those keys: it publishes them.
	offered atomic.Int64
	// taken is how many of these somebody confirms, or has confirmed. It is moved by
	// compare-and-swap, so no two work at one key.
	taken atomic.Int64
	// state is sharedOpen while the batch is shared, plus the helpers inside. Both are in one
	// word, so that no helper can enter between the caller's looking and its closing.
	state atomic.Int64

	// What helpers and caller have to tell, added up; the caller reads it when all have left.
	asked  atomic.Uint64 // runs
	waited atomic.Uint64 // ns
	helped atomic.Uint64 // how many of taken a helper took
	err    atomic.Pointer[error]

	gone chan struct{} // the last helper has left a batch that was closed; of capacity 1
}

// sharedOpen is far above the number of helpers, which it is added to.
const sharedOpen = 1 << 32

// Offer implements shards.Confirmer: it wakes the helpers when enough is pending.
func (s *store) Offer(b *shards.Batch, pending []shards.Pending) {
	least := helpMin + b.Len()/helpShare
	if len(pending) < least {
		return
	}
	h, _ := b.Aside.(*sharedBatch)
	if h == nil {
		h = &sharedBatch{b: b, gone: make(chan struct{}, 1)}
		b.Aside = h
	}
	h.oldest.Store(b.Oldest())
	h.offered.Store(int64(len(pending)))
	if !h.open() {
		h.pending = pending[:cap(pending)]
		h.taken.Store(0)
		h.asked.Store(0)
		h.waited.Store(0)
		h.helped.Store(0)
		h.err.Store(nil)
		h.state.Store(sharedOpen)
	}
	// With a helper inside nobody is woken: it goes on with what is offered now.
	if h.state.Load() != sharedOpen || len(pending)-int(h.taken.Load()) < least {
		return
	}
	// The channel has no buffer, so only an idle helper takes the batch. One that lay in a buffer
	// would be over when somebody came for it.
	for range helpers {
		select {
		case s.help <- h:
		default: // busy
		}
	}
}

func (h *sharedBatch) open() bool { return h.state.Load()&sharedOpen != 0 }

// helpLoop confirms for who offers, until stop. Open starts the helpers, each with a lookup of its
// own.
func (s *store) helpLoop(offers <-chan *sharedBatch, stop <-chan struct{}) {
	l := new(lookup)
	for {
		select {
		case <-stop:
			return
		case h := <-offers:
			if h.enter() {
				for s.helpPiece(l, h) {
				}
				h.leave()
				clear(l.queries[:cap(l.queries)]) // keys and runs, which must not live as long as the helper
			}
		}
	}
}

// helpPiece confirms a piece as a helper, if there is one.
func (s *store) helpPiece(l *lookup, h *sharedBatch) bool {
	from, to := h.take(false)
	if from >= to {
		return false
	}
	s.confirmShared(l, h, from, to)
	h.helped.Add(uint64(to - from))
	return true
}

// enter keeps the batch shared until a helper has left.
func (h *sharedBatch) enter() bool {
	for st := h.state.Load(); st&sharedOpen != 0; st = h.state.Load() {
		if h.state.CompareAndSwap(st, st+1) {
			return true
		}
	}
	return false
}

// leave wakes a caller that has closed the batch and waits for the last helper. If the caller
// saw it while spinning, the wake-up stays in the channel for a later wait, which looks at
// state again.
func (h *sharedBatch) leave() {
	if h.state.Add(-1) == 0 {
		select {
		case h.gone <- struct{}{}:
		default:
		}
	}
}

// take returns which pending keys its caller is to confirm: all that are left, or a piece.
// There is none if from >= to. Pieces halve with what is left, so that nobody is still at a large
// one when the others have ended.
func (h *sharedBatch) take(all bool) (from, to int64) {
	for {
		from = h.taken.Load()
		to = h.offered.Load()
		if left := to - from; !all {
			to = from + min(left, max(minHelpPiece, min(left/2, maxHelpPiece)))
		}
		if from >= to || h.taken.CompareAndSwap(from, to) {
			return from, to
		}
	}
}

// confirmShared confirms a piece. Its results go into pending, which no other piece overlaps, and
// the caller reads them after the last helper has left.
func (s *store) confirmShared(l *lookup, h *sharedBatch, from, to int64) {
	if err := s.ask(l, h.b, h.pending[from:to], h.oldest.Load()); err != nil {
		failed := err // err itself would be allocated for each piece
		h.err.CompareAndSwap(nil, &failed)
	}
	h.asked.Add(uint64(l.Asked))
	h.waited.Add(uint64(l.Waited))
}

// finishShared confirms what the helpers have left, and waits for those that are at a piece.
// How a batch is taken back from them:
//
//  1. The caller takes pieces until none is left. A helper may still be at one.
//  2. The caller takes sharedOpen out of state: no helper enters any more.
//  3. State is now the number of helpers inside. The last to leave makes it 0; the caller
//     spins for that, as a piece takes some 10 µs, and sleeps in gone if it takes longer.
func (s *store) finishShared(l *lookup, h *sharedBatch) error {
	// With no helper inside the rest is taken at once. One that enters from here on takes a piece
	// before that, or finds nothing.
	alone := h.state.Load() == sharedOpen
	for from, to := h.take(alone); from < to; from, to = h.take(alone) {
		s.confirmShared(l, h, from, to)
	}
	h.state.Add(-sharedOpen)
	for spins := 0; h.state.Load() != 0; spins++ {
		if spins > maxSpins {
			<-h.gone
		}
	}
	h.b.Counts.RunsAsked += h.asked.Load()
	h.b.Counts.DiskWait += h.waited.Load()
	h.b.Counts.Helped += h.helped.Load()
	if err := h.err.Load(); err != nil {
		return *err
	}
	return nil
}
