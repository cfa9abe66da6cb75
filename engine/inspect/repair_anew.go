package inspect

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/nanotime"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// planAnew makes a manifest for a directory that has none: what was promised is
// not known, so all of the window is lost.
func (r *repairer) planAnew() error {
	window, span, number, err := r.windowFromSnapshots()
	if err != nil {
		return err
	}
	var ok bool
	if r.clock, ok = nanotime.Of(r.opts.Now()); !ok {
		return nanotime.RangeError(r.opts.Now())
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
		journal, _ := filepath.Match(persist.JournalName+"*", name)
		if seg || snap || res || journal || name == persist.ManifestName {
			r.step(func() error { return r.moveAside(filepath.Join(r.dir, name)) }, "move %s aside", name)
		}
	}
	r.step(func() error {
		j, err := journal.Open(journal.Config{FS: r.fs, Path: filepath.Join(r.dir, persist.JournalName), RingBytes: leastRing})
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
