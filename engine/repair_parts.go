package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

const (
	// mendedName is the journal that a repair writes before it takes the place of
	// the damaged one.
	mendedName = journalName + ".mended"
	// journalGap is how far the positions of a mended journal lie above all that
	// were ever given: more than any ring holds.
	journalGap = 1 << 40
)

// planSegment saves what can be read of damaged runs into a segment of its own;
// sound is how many others the old one has. saved and lost are keys, tombstones
// apart.
func (r *repairer) planSegment(ctx context.Context, g *persist.GenerationMeta, old persist.SegmentMeta, sound int) (saved, lost uint64, err error) {
	name := filepath.Base(persist.SegmentPath(r.dir, old.ID))
	readable := map[uint64]uint64{} // run to keys
	all := uint64(0)
	if !r.badSegments[old.ID] {
		err := r.eachRun(old, func(run *persist.Run) error {
			gone, err := run.Salvage(func(*persist.Block) error { return ctx.Err() })
			if err != nil && !errors.Is(err, dedup.ErrCorrupt) {
				return err
			}
			if m := run.Meta(); gone < m.Keys {
				readable[m.ID] = m.Keys - gone
			}
			return nil
		})
		if err != nil {
			return 0, 0, err
		}
	}
	for _, m := range old.Runs {
		all += readable[m.ID]
		if !m.Tombstones {
			saved += readable[m.ID]
			lost += m.Keys - readable[m.ID]
		}
	}
	if all > 0 {
		number := g.Number
		r.step(func() error { return r.salvage(number, old, readable) },
			"save %d keys of %d damaged runs of %s into a new segment", all, len(old.Runs), name)
	}
	aside := func() error { return r.moveAside(persist.SegmentPath(r.dir, old.ID)) }
	switch {
	case r.badSegments[old.ID]:
		r.step(aside, "move the segment %s aside, which can't be opened", name)
	case sound == 0:
		// After the manifest: until then what was saved is in the old one alone.
		r.after = append(r.after, step{fmt.Sprintf("move the segment %s aside, of which no run is whole", name), aside})
	case all == 0:
		r.step(func() error { return nil }, "give up %d damaged runs of %s", len(old.Runs), name)
	}
	return saved, lost, nil
}

// eachRun opens the runs of a segment that can be opened.
func (r *repairer) eachRun(sm persist.SegmentMeta, do func(run *persist.Run) error) error {
	seg, runs, err := persist.SalvageSegment(persist.SegmentConfig{Dir: r.dir, ID: sm.ID}, sm)
	if seg == nil {
		return err
	}
	for _, run := range runs {
		if err := do(run); err != nil {
			return errors.Join(err, seg.Close())
		}
	}
	return seg.Close()
}

// salvage writes the readable blocks of damaged runs to a new segment and
// promises it.
func (r *repairer) salvage(generation uint64, old persist.SegmentMeta, readable map[uint64]uint64) error {
	ids, err := persist.ListSegmentDirs(r.dir)
	if err != nil {
		return err
	}
	for _, id := range ids {
		r.m.NextID = max(r.m.NextID, id)
	}
	r.m.NextID++
	var bytes int64
	for i := range old.Runs {
		bytes += old.Runs[i].Bytes()
	}
	seg, err := persist.CreateSegment(persist.SegmentConfig{Dir: r.dir, ID: r.m.NextID, MaxBytes: bytes})
	if err != nil {
		return err
	}
	sm := persist.SegmentMeta{ID: seg.ID()}
	hasher, shardBits := r.hasher(), bits.TrailingZeros16(r.identity.Shards)
	err = r.eachRun(old, func(run *persist.Run) error {
		m := run.Meta()
		if readable[m.ID] == 0 {
			return nil
		}
		r.m.NextID++
		w := seg.NewRun(persist.RunSpec{ID: r.m.NextID, Shard: m.Shard, Form: m.Form, Tombstones: m.Tombstones,
			Zeros: m.Zeros, Seq: m.Seq, MaxKeys: m.Keys, MaxPos: m.MaxPos})
		_, err := run.Salvage(func(b *persist.Block) error {
			for i := range b.Len() {
				if hash.Form(m.Form).Fixed() {
					w.Add(b.Pair(i))
				} else {
					w.AddBytes(hasher.Record(b.Key(i))<<shardBits, b.Key(i))
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, dedup.ErrCorrupt) {
			return err
		}
		saved, err := w.Finish()
		if err == nil {
			sm.Runs = append(sm.Runs, saved.Meta())
		}
		return err
	})
	if err == nil {
		err = seg.Sync()
	}
	if err = errors.Join(err, seg.Close()); err != nil {
		return err
	}
	g := generationMeta(r.m, generation)
	g.Segments = append(g.Segments, sm)
	g.Keys = keysOf(g)
	return nil
}

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
		payload := binary.LittleEndian.AppendUint64(nil, uint64(r.clock))
		next = &journal.Frame{Kind: journal.KindRotate, Generation: live.Number + 1, Time: r.clock,
			Payload: binary.LittleEndian.AppendUint64(payload, uint64(r.clock))}
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
	ring := max(minRing, r.journal.state.RingBytes, 3*r.journal.bytes)
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
	err = again.read(ctx, r.inspector, filepath.Join(r.dir, journalName), put)
	if errors.Is(err, dedup.ErrCorrupt) {
		err = nil
	}
	if err == nil && next != nil {
		err = put(next)
	}
	return errors.Join(err, j.Close(err == nil))
}

func (r *repairer) swapJournal() error {
	path := filepath.Join(r.dir, journalName)
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

// planAnew makes a manifest for a directory that has none: what was promised is
// not known, so all of the window is lost.
func (r *repairer) planAnew() error {
	window, span, number, err := r.windowFromSnapshots()
	if err != nil {
		return err
	}
	var ok bool
	if r.clock, ok = wallNano(r.opts.Now()); !ok {
		return errClock(r.opts.Now())
	}
	gap := persist.GenerationMeta{Number: number + 1, Start: r.clock - window - span, End: r.clock}
	r.m = &persist.Manifest{
		Clock: r.clock, Wall: r.clock, Window: window, Span: span, Covered: make([]journal.Pos, r.identity.Shards),
		Generations: []persist.GenerationMeta{gap, {Number: number + 2, Start: r.clock}},
	}
	r.noteGap(&gap, true, "the manifest was lost")
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		seg, _ := filepath.Match("seg-*", name)
		snap, _ := filepath.Match("filter-*", name)
		res, _ := filepath.Match("res-*", name)
		journal, _ := filepath.Match(journalName+"*", name)
		if seg || snap || res || journal || name == persist.ManifestName {
			r.step(func() error { return r.moveAside(filepath.Join(r.dir, name)) }, "move %s aside", name)
		}
	}
	r.step(func() error {
		j, err := journal.Open(journal.Config{FS: r.fs, Path: filepath.Join(r.dir, journalName), RingBytes: minRing})
		if err != nil {
			return err
		}
		return j.Close(false)
	}, "make an empty journal and a manifest whose whole window is lost")
	return nil
}

// windowFromSnapshots learns the window from the snapshots' headers.
func (r *repairer) windowFromSnapshots() (window, span int64, newest uint64, err error) {
	numbers, err := persist.ListSnapshots(r.fs, r.dir)
	if err != nil {
		return 0, 0, 0, err
	}
	generations := 8
	for _, n := range numbers {
		newest = max(newest, n)
		f, err := persist.OpenSnapshotFile(r.fs, r.dir, n)
		if err != nil {
			continue
		}
		size, err := f.Size()
		if err == nil {
			var s *bloom.Snapshot
			if s, err = bloom.OpenSnapshot(f, size, ""); err == nil {
				h := s.Header()
				generations, span = h.Generations, max(span, h.End-h.Start)
			}
		}
		if err := errors.Join(err, f.Close()); err != nil {
			continue
		}
	}
	if r.opts.Window > 0 {
		window = int64(r.opts.Window)
		return window, window / int64(generations-1), newest, nil
	}
	if span <= 0 {
		return 0, 0, 0, fmt.Errorf("the manifest is lost and no snapshot tells how long the window is: say it (Window): %w", dedup.ErrCorrupt)
	}
	// A generation may have lasted longer than its span: then the gap does too.
	return span * int64(generations-1), span, newest, nil
}
