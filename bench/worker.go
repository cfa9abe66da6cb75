package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/firstseen/firstseen/dedup"
)

// roundKeys is how many messages are made ahead of the timed calls at least, so
// that calls with one key are timed back to back with one reading of the clock
// each.
const roundKeys = 256

// newHistogram takes nanoseconds from 1 to a minute with three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(time.Minute), 3) }

// A tally counts what a goroutine saw.
type tally struct {
	messages   uint64
	fresh      uint64        // messages whose right answer was Fresh
	duplicates uint64        // and Duplicate
	missed     uint64        // a duplicate was let through
	wrong      uint64        // a fresh key was called a duplicate
	late       uint64        // a fresh key was called a duplicate at first, and let through when it came again
	unanswered uint64        // InFlight or Unknown
	inside     time.Duration // within calls
}

func (t *tally) add(o tally) {
	t.messages += o.messages
	t.fresh += o.fresh
	t.duplicates += o.duplicates
	t.missed += o.missed
	t.wrong += o.wrong
	t.late += o.late
	t.unanswered += o.unanswered
	t.inside += o.inside
}

// check compares the verdicts of one round with the right ones.
//
// A key that an approximate target wrongly called a duplicate was never marked,
// so a later Fresh is no duplicate let through: it comes late.
func (t *tally) check(s *stream, got []dedup.Verdict) error {
	want := s.want
	if len(want) != len(got) {
		return fmt.Errorf("bench: %d keys got %d verdicts", len(want), len(got))
	}
	for i, w := range want {
		g := got[i]
		if w == dedup.Fresh {
			t.fresh++
		} else {
			t.duplicates++
		}
		switch {
		case g == w:
		case g == dedup.Fresh:
			if _, unmarked := s.unmarked[s.indices[i]]; unmarked {
				delete(s.unmarked, s.indices[i])
				t.late++
			} else {
				t.missed++
			}
		case g == dedup.Duplicate:
			t.wrong++
			if s.unmarked != nil {
				s.unmarked[s.indices[i]] = struct{}{}
			}
		default:
			t.unanswered++
		}
	}
	t.messages += uint64(len(want))
	return nil
}

// A worker is one calling goroutine.
type worker struct {
	id       int
	target   Target
	stream   *stream
	clock    *clock
	quota    uint64
	batch    int
	deadline time.Time
	stop     *atomic.Bool // another worker failed

	tally tally
	hist  *hdrhistogram.Histogram
	vs    []dedup.Verdict
	took  []time.Duration
}

// run sends the quota, and returns early without an error when ctx ends or the
// deadline passes.
func (w *worker) run(ctx context.Context) error {
	calls := max(1, roundKeys/w.batch)
	for w.tally.messages < w.quota && !w.stop.Load() && ctx.Err() == nil {
		n := int(min(uint64(calls*w.batch), w.quota-w.tally.messages))
		w.clock.begin(w.id)
		w.stream.fill(n)
		end, err := w.round(ctx)
		if err != nil {
			w.clock.end(w.id, 0)
			if ctx.Err() != nil {
				return nil // interrupted: what was counted so far stands
			}
			w.stop.Store(true)
			return err
		}
		w.clock.end(w.id, uint64(n))
		if err := w.tally.check(w.stream, w.vs); err != nil {
			w.stop.Store(true)
			return err
		}
		if !w.deadline.IsZero() && end.After(w.deadline) {
			return nil
		}
	}
	return nil
}

// round makes the calls of one round back to back.
func (w *worker) round(ctx context.Context) (time.Time, error) {
	w.vs, w.took = w.vs[:0], w.took[:0]
	keys := w.stream.keys
	begin := time.Now()
	var last time.Duration // since begin: reads one clock, where time.Now reads two
	for len(keys) > 0 {
		n := min(w.batch, len(keys))
		var err error
		if w.vs, err = w.target.Admit(ctx, w.vs, keys[:n]); err != nil {
			return begin, err
		}
		now := time.Since(begin)
		w.took = append(w.took, now-last)
		last = now
		keys = keys[n:]
	}
	for _, d := range w.took {
		// A call of more than a minute counts as one of a minute.
		_ = w.hist.RecordValue(min(int64(d), int64(time.Minute)))
	}
	w.tally.inside += last
	return begin.Add(last), nil
}
