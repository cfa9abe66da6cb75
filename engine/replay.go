package engine

import (
	"fmt"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
	"github.com/firstseen/firstseen/shards"
)

// replay applies the frames that no run holds yet: those of each shard behind the position up
// to which its runs cover the journal. It needs no clock, since frames carry generation and
// time, and it may apply a key twice, since marks are idempotent.
func (rc *recovery) replay(results persist.ResultPromises) error {
	m := rc.m
	var b shards.Batch
	newest := int64(0)
	apply := func(f *journal.Frame) error {
		newest = max(newest, f.Time)
		switch f.Kind {
		case journal.KindRotate:
			return rc.replayRotation(f)
		case journal.KindResults:
			if !results.Add(f) {
				return rc.e.store.damaged("the journal promises results in %d bytes", len(f.Payload))
			}
			return nil
		}
		r, start := entryOf(f)
		// A frame that a replay once split between two tables ends behind the position that the older
		// one's run covers. It is applied again, as a whole.
		if r.Shard < len(m.Covered) && f.End <= m.Covered[r.Shard] {
			return nil
		}
		gs := rc.e.window.generations
		if r.Generation < gs[0].number {
			return nil // older than the window: its slot may be another generation's by now (I4)
		}
		// A generation's frame lies before its marks (rotateTo), so it is not one that a crash took.
		if r.Generation > gs[len(gs)-1].number {
			return rc.e.store.damaged("the journal names generation %d, the newest is %d", r.Generation, gs[len(gs)-1].number)
		}
		rc.stats.Replayed += uint64(r.Count)
		return rc.e.set.Replay(&b, &r, start, f.End)
	}
	found, err := rc.e.journal.Replay(m.Tail, apply)
	if err != nil {
		return err
	}
	rc.e.set.EndReplay()
	// What was read keeps its room until a flush has put it into runs.
	rc.e.journal.Release(m.Tail)
	rc.stats.Clean, rc.stats.DroppedBytes = found.Clean, found.Dropped
	if found.MayHaveLost != 0 {
		rc.noteLoss(found.MayHaveLost, max(m.Clock, newest))
	}
	// Time goes on from the newest mark at the earliest: a key's mark must not lie in the future.
	live := m.Generations[len(m.Generations)-1]
	rc.newest = max(m.Clock, newest)
	rc.e.window.dueAt.Store(0) // the first call looks
	return rc.startClock(max(rc.newest, live.Start))
}

// noteLoss says what a power loss may have taken: marks of the last d (-1: of any time) whose
// calls returned after since. The journal loses its end only, so no lost mark is older than a
// frame that is left. Nor is one older than the manifest's clock: the journal was synced
// between the reading of that clock and the writing of the manifest (see moment).
func (rc *recovery) noteLoss(d time.Duration, since int64) {
	rc.stats.MayHaveLost, rc.stats.LostSince = d, time.Unix(0, since)
	rc.e.opts.Logger.Warn("the machine stopped without a clean close: the newest marks may be lost", "at_most", d, "since", rc.stats.LostSince)
}

// replayRotation begins a generation that began after the manifest was written.
func (rc *recovery) replayRotation(f *journal.Frame) error {
	gs := rc.e.window.generations
	live := gs[len(gs)-1]
	if f.Generation <= live.number {
		return nil // the manifest knew it
	}
	start, end, ok := f.Rotation()
	if f.Generation != live.number+1 || !ok {
		return rc.e.store.damaged("the journal begins generation %d after %d", f.Generation, live.number)
	}
	// All slots are taken. The engine that wrote the frame had retired the oldest generation by then,
	// of which the journal says nothing, since it follows from the times.
	if gs[0].number+uint64(rc.e.opts.Generations) <= f.Generation {
		if !rc.mayReuse(gs[0], start) {
			return fmt.Errorf("%w: it holds more than %d generations, Generations is %d: open it with more of them until the oldest is older than the window",
				dedup.ErrIncompatible, rc.e.opts.Generations, rc.e.opts.Generations)
		}
		rc.e.window.dropOldest(1)
	}
	rc.e.window.begin(generation{number: f.Generation, start: start}, end)
	return nil
}

// changeWindow is for an opening with another Window or Generations than before. With a
// shorter span the live generation could end before its youngest keys were marked, so its
// beginning is moved. And a manifest says the new options before the journal gets a frame that
// is written with them: see mayReuse.
func (rc *recovery) changeWindow() error {
	m := rc.m
	if m.Window == int64(rc.e.opts.Window) && m.Span == int64(rc.e.opts.span()) {
		return nil
	}
	gs := rc.e.window.generations
	live := &gs[len(gs)-1]
	until := min(rc.newest, generationEnd(gs, m.Span, m.Window, 1+m.Window/max(1, m.Span)))
	live.start = max(live.start, until-int64(rc.e.opts.span()))
	return rc.e.persistMoment()
}

// mayReuse reports whether the oldest generation, whose slot is wanted, had been retired when
// a generation began at start (I4). It had if the frame was written with as many slots as
// there are now, or with fewer; with more it may still have been in the window. Frames that
// are newer than the manifest were written with the options that it names.
func (rc *recovery) mayReuse(oldest generation, start int64) bool {
	m := rc.m
	slots := 1 + m.Window/max(1, m.Span)
	return slots <= int64(rc.e.opts.Generations) || oldest.end+m.Window <= start
}
