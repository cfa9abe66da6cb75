package engine

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/sabotage"
	"github.com/firstseen/firstseen/persist"
)

// A gap is a part of the window that is lost. It is noted in the manifest as soon
// as it is known, and goes with its generation: what is written later (merged
// runs, snapshots of what is left) must not pass for the whole.
//
//   - OnGap Refuse does not open over a gap, unless Repair was told that the
//     loss is accepted. Then its keys are new again, which the operator chose.
//   - OnGap Report answers Unknown for every key that may have been marked in
//     it, accepted or not.
//
// Stats().Recovery.Gaps tells of it in every case.

// knownGaps takes over the gaps that the manifest notes.
func (e *Engine) knownGaps(m *persist.Manifest) error {
	for _, g := range m.Lost {
		if e.opts.OnGap == Refuse && !g.Accepted {
			return &dedup.CorruptError{File: filepath.Join(e.dir, persist.ManifestName), Offset: -1, Detail: fmt.Sprintf(
				"generation %d is known to be incomplete (%s); open with OnGap: Report, or accept the loss with firstseen repair",
				g.Generation, g.Reason)}
		}
		e.hold(g)
		e.lost = append(e.lost, g)
		e.tellGap(g)
	}
	return nil
}

// gap accepts damage where the caller asked to be told of it, else returns it.
func (e *Engine) gap(g *persist.GenerationMeta, err error) error {
	if e.opts.OnGap != Report || !errors.Is(err, dedup.ErrCorrupt) {
		return err
	}
	lost := persist.GapMeta{Generation: g.Number, Start: g.Start, End: g.End, Reason: err.Error()}
	e.hold(lost)
	if !e.hasGap(g.Number) {
		e.lost = append(e.lost, lost)
		e.tellGap(lost)
	}
	return nil
}

// hold makes look-ups that would have to say Fresh say Unknown where the key may
// have been marked in the gap.
func (e *Engine) hold(g persist.GapMeta) {
	if e.opts.OnGap == Report && !sabotage.On(sabotage.IgnoreGap) {
		e.set.AddGeneration(g.Generation, true, g.Blind)
	}
}

func (e *Engine) tellGap(g persist.GapMeta) {
	e.recovery.Gaps = append(e.recovery.Gaps, Gap{g.Generation, time.Unix(0, g.Start), endTime(g.End), g.Reason})
	e.opts.Logger.Warn("a part of the window is lost", "generation", g.Generation, "reason", g.Reason)
}

func (e *Engine) hasGap(number uint64) bool {
	return slices.ContainsFunc(e.lost, func(g persist.GapMeta) bool { return g.Generation == number })
}

// blind says that keys of the generation's gap are in no filter, so that every
// key may have been marked in it.
func (e *Engine) blind(number uint64) {
	for i := range e.lost {
		if g := &e.lost[i]; g.Generation == number {
			g.Blind = true
			e.hold(*g)
		}
	}
}

// keepGaps notes what this opening found out about gaps.
func (e *Engine) keepGaps() error {
	for _, g := range e.lost {
		// Replayed rotations may have taken the bit back.
		if e.isHeld(g.Generation) && g.Generation <= e.liveNumber() {
			e.hold(g)
		}
	}
	same := false
	e.store.view(func(m *persist.Manifest) { same = slices.Equal(m.Lost, e.lost) })
	if same {
		return nil
	}
	return e.store.update(func(m *persist.Manifest) { m.Lost = slices.Clone(e.lost) })
}

// gapHeld reports whether the window has a gap: then filters can't be rebuilt
// from the runs, which no longer hold all keys.
func (e *Engine) gapHeld() (held bool) {
	e.store.view(func(m *persist.Manifest) { held = len(m.Lost) > 0 })
	return held
}

func endTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
