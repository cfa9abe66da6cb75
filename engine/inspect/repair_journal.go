package inspect

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

const (
	// mendedName is the journal that a repair writes before it takes the place of
	// the damaged one.
	mendedName = persist.JournalName + ".mended"
	// journalGap is how far the positions of a mended journal lie above all that
	// were ever given: more than any ring holds.
	journalGap = 1 << 40
	// leastRing is the size of a ring that is made anew; an opening makes it larger
	// where the engine wants that.
	leastRing = 16 << 20
)

// planJournal writes a new journal with the frames before the damage. Its
// positions begin above all old ones, so that nothing old can pass for covered or
// for a frame of it. What was lost was marked after the last whole frame.
func (r *repairer) planJournal(ctx context.Context) {
	m, look := r.m, &r.journal
	live := m.Generations[len(m.Generations)-1]
	if look.generation > live.Number {
		live = persist.GenerationMeta{Number: look.generation, Start: look.start}
	}
	gap := persist.GenerationMeta{Number: live.Number, Start: max(live.Start, look.newest)}
	var next *journal.Frame
	if span := m.Span; span > 0 && live.Start+span <= r.clock && r.roomAfter(live.Number) {
		// Rotations may have been lost too, and with them keys marked up to now:
		// the generation of the gap lasts as long.
		gap.End = r.clock
		next = journal.Rotation(live.Number+1, r.clock, r.clock)
	}
	r.noteGap(&gap, true, "the journal was damaged: "+r.badJournal.Error())
	start := r.above()
	r.step(func() error { return r.writeJournal(ctx, start, next) },
		"write a new journal with the %d frames (%d keys) before the damage", look.frames, look.keys)
	for i := range m.Covered {
		m.Covered[i] = start
	}
	m.Tail = start
	r.after = append(r.after, step{"put it in the place of the damaged one, which is moved aside", r.swapJournal})
}

// roomAfter reports whether a generation can follow the given one: its filter's
// slot is free, or held by one that is older than the window.
func (r *repairer) roomAfter(live uint64) bool {
	first := r.m.Generations[0]
	slots := uint64((r.m.Window+r.m.Span/2)/r.m.Span) + 1
	return first.Number+slots > live+1 || first.End != 0 && first.End+r.m.Window <= r.clock
}

// above is a position that is above all that the directory knows of.
func (r *repairer) above() journal.Pos {
	top := r.m.Tail
	for _, p := range r.m.Covered {
		top = max(top, p)
	}
	for _, g := range r.m.Generations {
		top = max(top, g.Snapshot, r.snapEnds[g.Number])
		for _, s := range g.Segments {
			for _, m := range s.Runs {
				top = max(top, m.MaxPos)
			}
		}
	}
	return (top + journalGap) &^ 7
}

func (r *repairer) writeJournal(ctx context.Context, start journal.Pos, next *journal.Frame) error {
	path := filepath.Join(r.dir, mendedName)
	for _, p := range []string{path, path + journal.MarkSuffix} {
		if err := r.fs.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	ring := max(leastRing, r.journal.state.RingBytes, 3*r.journal.bytes)
	j, err := journal.Open(journal.Config{FS: r.fs, Path: path, RingBytes: ring, Start: start})
	if err != nil {
		return err
	}
	if _, err := j.Replay(start, func(*journal.Frame) error { return nil }); err != nil {
		return errors.Join(err, j.Close(false))
	}
	put := func(f *journal.Frame) error {
		if err := j.Reserve(ctx, journal.FrameSpace(len(f.Payload))); err != nil {
			return err
		}
		end, err := j.Append(f)
		if err == nil && end-start > uint64(ring)/2 {
			err = j.Sync() // bounds what is in memory
		}
		return err
	}
	var again journalLook
	// The damage is met again at the same place; what came before it was kept.
	err = again.read(ctx, r.inspector, filepath.Join(r.dir, persist.JournalName), put)
	if errors.Is(err, dedup.ErrCorrupt) {
		err = nil
	}
	if err == nil && next != nil {
		err = put(next)
	}
	return errors.Join(err, j.Close(err == nil))
}

func (r *repairer) swapJournal() error {
	path := filepath.Join(r.dir, persist.JournalName)
	for _, p := range []string{path, path + journal.MarkSuffix} {
		if err := r.moveAside(p); err != nil {
			return err
		}
	}
	if err := r.fs.Rename(filepath.Join(r.dir, mendedName), path); err != nil {
		return err
	}
	if err := r.fs.Remove(filepath.Join(r.dir, mendedName+journal.MarkSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return r.fs.SyncDir(r.dir)
}

// finishJournal ends an earlier repair that wrote its manifest but was
// interrupted before the new journal was in its place.
func (r *repairer) finishJournal(ctx context.Context) error {
	path := filepath.Join(r.dir, mendedName)
	if _, err := r.fs.Stat(path); err != nil || r.unreadable || r.opts.DryRun {
		return nil //nolint:nilerr // nothing to finish
	}
	var look journalLook
	if look.read(ctx, r.inspector, path, nil) == nil {
		return r.swapJournal()
	}
	return nil // it was not finished: plan anew
}
