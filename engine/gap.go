package engine

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
)

// A gap is a part of the window that is lost. The manifest notes it as soon as it is known,
// because what is written later (merged runs, snapshots of what is left) would pass for the
// whole. It goes with its generation.
//
//   - OnGap Refuse does not open over a gap, unless Repair was told that the
//     loss is accepted. Then its keys are new again, which the operator chose.
//   - OnGap Report answers Unknown for every key that may have been marked in
//     it, accepted or not.
//
// Stats().Recovery.Gaps reports it in every case.

// knownGaps takes over the gaps that the manifest has noted.
func (rc *recovery) knownGaps() error {
	for _, g := range rc.m.Lost {
		if rc.e.opts.OnGap == Refuse && !g.Accepted {
			return &dedup.CorruptError{File: filepath.Join(rc.e.dir, persist.ManifestName), Offset: -1, Detail: fmt.Sprintf(
				"generation %d is known to be incomplete (%s); open with OnGap: Report, or accept the loss with firstseen repair",
				g.Generation, g.Reason)}
		}
		rc.setGap(g)
		rc.lost = append(rc.lost, g)
		rc.reportGap(g)
	}
	return nil
}

// gap turns damage of a generation into a gap if the caller asked for that, and returns it as
// an error if not. Other errors are no damage (descriptors, memory, rights): the next opening may
// find everything, and a gap noted for them would stay for a window.
func (rc *recovery) gap(g *persist.GenerationMeta, err error) error {
	if rc.e.opts.OnGap != Report || !errors.Is(err, dedup.ErrCorrupt) {
		return err
	}
	lost := persist.GapMeta{Generation: g.Number, Start: g.Start, End: g.End, Reason: err.Error()}
	rc.setGap(lost)
	if !rc.hasGap(g.Number) {
		rc.lost = append(rc.lost, lost)
		rc.reportGap(lost)
	}
	return nil
}

// setGap makes look-ups answer Unknown instead of Fresh where the key may have been marked in
// the gap.
func (rc *recovery) setGap(g persist.GapMeta) {
	if rc.e.opts.OnGap == Report {
		rc.e.set.AddGeneration(g.Generation, true, g.Blind)
	}
}

func (rc *recovery) reportGap(g persist.GapMeta) {
	rc.stats.Gaps = append(rc.stats.Gaps, Gap{g.Generation, time.Unix(0, g.Start), endTime(g.End), g.Reason})
	rc.e.opts.Logger.Warn("a part of the window is lost", "generation", g.Generation, "reason", g.Reason)
}

func (rc *recovery) hasGap(number uint64) bool {
	return slices.ContainsFunc(rc.lost, func(g persist.GapMeta) bool { return g.Generation == number })
}

// blind says that keys of the generation's gap are in no filter, so that every
// key may have been marked in it.
func (rc *recovery) blind(number uint64) {
	for i := range rc.lost {
		if g := &rc.lost[i]; g.Generation == number {
			g.Blind = true
			rc.setGap(*g)
		}
	}
}

// persistGaps has the manifest note the gaps that this opening has found.
func (rc *recovery) persistGaps() error {
	for _, g := range rc.lost {
		// A replayed rotation may have cleared the bits with a slot.
		if rc.e.window.holds(g.Generation) && g.Generation <= rc.e.window.live() {
			rc.setGap(g)
		}
	}
	same := false
	rc.e.store.view(func(m *persist.Manifest) { same = slices.Equal(m.Lost, rc.lost) })
	if same {
		return nil
	}
	return rc.e.store.update(func(m *persist.Manifest) { m.Lost = slices.Clone(rc.lost) })
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
