package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// Damage is one thing that Verify found wrong.
type Damage struct {
	File       string    `json:"file"`
	Offset     int64     `json:"offset"` // -1 where there is none
	Generation uint64    `json:"generation,omitempty"`
	Start      time.Time `json:"start"` // span of the window that is affected; both zero: all of it
	End        time.Time `json:"end"`
	Detail     string    `json:"detail"`
	Fatal      bool      `json:"fatal"` // false: a cache that is rebuilt at the next opening
}

// Verification is the sum of a Verify.
type Verification struct {
	Files   int      `json:"files"`
	Runs    int      `json:"runs"`
	Keys    uint64   `json:"keys"`
	Results uint64   `json:"results"` // records, those of forgotten keys included
	Bytes   int64    `json:"bytes"`
	Damages []Damage `json:"damages"`
	Gaps    []Gap    `json:"gaps,omitempty"` // noted before, by Repair or by an opening with OnGap Report
}

// verifier is a Verify under way, or the look at a directory that Repair takes.
type verifier struct {
	*inspector
	out      Verification
	copies   string // where copies of segments lie; empty: they are opened in their place
	progress func(done, total int64)
	done     int64 // bytes of runs checked
	total    int64 // and in all

	// What Repair needs to know beside the list of damage.
	unreadable  bool             // there is no manifest to go by
	badJournal  error            // nil: it is whole
	journal     journalLook      // as far as it could be read
	badRuns     map[uint64]bool  // runs of which not all keys can be read
	badSegments map[uint64]bool  // segments that can't be opened at all
	badSnaps    map[uint64]error // generations whose snapshot can't be read
	snapEnds    map[uint64]journal.Pos

	badResults    map[uint64]error // results that are not whole
	badResultDirs map[uint64]bool  // those that can't be opened at all
}

// Verify reads everything in dir and lists all damage; err is for what kept it
// from looking (ErrLocked, ErrIncompatible, fs.ErrNotExist, ctx). It repairs
// nothing. To read a segment it opens Badger, which tidies up its own files as
// it does at every opening; where the medium is read-only, it opens a copy in the
// system's directory for temporary files, of one segment at a time. progress, when
// not nil, is told the bytes of runs checked so far and in all.
func Verify(ctx context.Context, dir string, progress func(done, total int64)) (Verification, error) {
	v, err := newVerifier(dir, progress)
	if err == nil {
		err = v.verify(ctx)
	}
	if v == nil {
		return Verification{}, fmt.Errorf("engine: verify %s: %w", dir, err)
	}
	if cerr := v.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return v.out, fmt.Errorf("engine: verify %s: %w", dir, err)
	}
	return v.out, nil
}

// newVerifier locks dir. A damaged identity or manifest is in the list already.
func newVerifier(dir string, progress func(done, total int64)) (*verifier, error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	i, err := inspectDir(dir)
	if i == nil {
		return nil, err
	}
	v := &verifier{inspector: i, progress: progress, badRuns: map[uint64]bool{}, badSegments: map[uint64]bool{},
		badSnaps: map[uint64]error{}, snapEnds: map[uint64]journal.Pos{}, badResults: map[uint64]error{}, badResultDirs: map[uint64]bool{}}
	v.out.Files++
	if err == nil {
		err = v.checkManifest()
	}
	if errors.Is(err, dedup.ErrCorrupt) {
		v.unreadable = true
		v.damaged(nil, err, true)
		return v, nil
	}
	return v, err
}

// checkManifest looks for what its checksum can't tell.
func (v *verifier) checkManifest() error {
	bad := func(format string, args ...any) error {
		return &dedup.CorruptError{File: filepath.Join(v.dir, persist.ManifestName), Offset: -1, Detail: fmt.Sprintf(format, args...)}
	}
	gs := v.manifest.Generations
	if len(gs) == 0 {
		return bad("it names no generation")
	}
	for k := 1; k < len(gs); k++ {
		if gs[k].Number != gs[k-1].Number+1 || gs[k-1].End == 0 {
			return bad("its generations don't follow one another")
		}
	}
	return nil
}

func (v *verifier) verify(ctx context.Context) error {
	if v.unreadable {
		return nil
	}
	v.out.Files += 2 // manifest and journal
	v.out.Gaps = gapsOf(v.manifest.Lost)
	if err := v.checkJournal(ctx); err != nil {
		return err
	}
	for k := range v.manifest.Generations {
		for _, s := range v.manifest.Generations[k].Segments {
			for r := range s.Runs {
				v.total += s.Runs[r].Bytes()
			}
		}
	}
	for k := range v.manifest.Generations {
		g := &v.manifest.Generations[k]
		for _, sm := range g.Segments {
			if err := v.segment(ctx, g, sm); err != nil {
				return err
			}
		}
		v.snapshot(g)
	}
	return v.checkResults(ctx)
}

// checkJournal reads what an opening would replay.
func (v *verifier) checkJournal(ctx context.Context) error {
	err := v.journal.read(ctx, v.inspector, filepath.Join(v.dir, persist.JournalName), nil)
	if err == nil {
		v.checkRing()
		return nil
	}
	if !errors.Is(err, dedup.ErrCorrupt) {
		return err
	}
	v.badJournal = err
	v.damaged(nil, err, true)
	// What is lost came after the last whole frame.
	live := v.manifest.Generations[len(v.manifest.Generations)-1]
	d := &v.out.Damages[len(v.out.Damages)-1]
	d.Generation, d.Start = max(live.Number, v.journal.generation), time.Unix(0, max(live.Start, v.journal.newest))
	return nil
}

// checkRing tells of a ring without room for a rotation, and as much slack for it: no
// call has an answer before there is some.
func (v *verifier) checkRing() {
	look, m := &v.journal, v.manifest
	used := int64(look.found.End - m.Tail)
	if used+2*int64(journal.RotationSpace(bloom.MaxGenerations+1)) <= look.state.RingBytes {
		return
	}
	v.damaged(nil, &dedup.CorruptError{File: filepath.Join(v.dir, persist.JournalName), Offset: -1,
		Detail: fmt.Sprintf("its ring is full: %d of %d bytes are taken, %d of them by %d frames that the next opening needs; it gives back the rest",
			used, look.state.RingBytes, look.bytes, look.frames)}, false)
}

// segment checks one segment and all runs in it.
func (v *verifier) segment(ctx context.Context, g *persist.GenerationMeta, sm persist.SegmentMeta) error {
	v.out.Files++
	dir, done, err := v.writable(persist.SegmentPath(v.dir, sm.ID))
	if err != nil {
		return err
	}
	return errors.Join(v.segmentIn(ctx, dir, g, sm), done())
}

// segmentIn is segment where dir holds the segment, or its copy.
func (v *verifier) segmentIn(ctx context.Context, dir string, g *persist.GenerationMeta, sm persist.SegmentMeta) error {
	seg, runs, err := persist.SalvageSegment(persist.SegmentConfig{Dir: dir, ID: sm.ID}, sm)
	if err != nil {
		if !errors.Is(err, dedup.ErrCorrupt) {
			return err
		}
		v.damaged(g, err, true)
		v.badSegments[sm.ID] = seg == nil
	}
	sound := map[uint64]bool{}
	for _, r := range runs {
		if err := ctx.Err(); err != nil {
			return errors.Join(context.Cause(ctx), seg.Close())
		}
		m := r.Meta()
		if err := r.Verify(); err != nil {
			v.damaged(g, err, true)
		} else {
			sound[m.ID] = true
		}
		v.out.Runs++
		v.out.Keys += m.Keys
		v.out.Bytes += m.Bytes()
		v.done += m.Bytes()
		v.progress(v.done, v.total)
	}
	for _, m := range sm.Runs {
		if !sound[m.ID] {
			v.badRuns[m.ID] = true
		}
	}
	if seg != nil {
		return seg.Close()
	}
	return nil
}

// writable returns the directory in which Badger may open what lies at path: v.dir, or on a
// read-only medium a temporary one with a copy of it. done removes that.
func (v *verifier) writable(path string) (dir string, done func() error, err error) {
	if !v.lock.ReadOnly() {
		return v.dir, func() error { return nil }, nil
	}
	if dir, err = os.MkdirTemp("", "firstseen-verify-"); err != nil {
		return "", nil, err
	}
	v.copies = dir
	done = func() error {
		v.copies = ""
		return os.RemoveAll(dir)
	}
	err = os.CopyFS(filepath.Join(dir, filepath.Base(path)), os.DirFS(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // what is missing is damage, and for who opens it to say
		return "", nil, errors.Join(fmt.Errorf("copying %s, since Badger can't open it on a read-only medium: %w", path, err), done())
	}
	return dir, done, nil
}

// snapshot checks a generation's snapshot, which is a cache where there are runs.
func (v *verifier) snapshot(g *persist.GenerationMeta) {
	end, err := v.eachColumn(g.Number, func(column []byte) { v.out.Bytes += int64(len(column)) })
	if errors.Is(err, fs.ErrNotExist) && g.Snapshot == 0 {
		return
	}
	v.out.Files++
	err = persist.Required(err, persist.SnapshotPath(v.dir, g.Number))
	if err == nil {
		err = g.CheckSnapshot(v.dir, end)
	}
	if err != nil {
		v.badSnaps[g.Number] = err
		v.damaged(g, err, v.identity.Approximate)
		return
	}
	v.snapEnds[g.Number] = end
}

// damaged lists err, which may be several joined, as damage of a generation.
func (v *verifier) damaged(g *persist.GenerationMeta, err error, fatal bool) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		if all := joined.Unwrap(); len(all) > 1 && errors.Is(all[0], dedup.ErrCorrupt) {
			for _, one := range all {
				v.damaged(g, one, fatal)
			}
			return
		}
	}
	d := Damage{File: v.dir, Offset: -1, Detail: err.Error(), Fatal: fatal}
	var c *dedup.CorruptError
	if errors.As(err, &c) {
		d.File, d.Offset, d.Detail = c.File, c.Offset, c.Detail
	}
	if rest, ok := strings.CutPrefix(d.File, v.copies); ok && v.copies != "" {
		d.File = v.dir + rest
	}
	if g != nil {
		d.Generation, d.Start, d.End = g.Number, time.Unix(0, g.Start), endTime(g.End)
	}
	v.out.Damages = append(v.out.Damages, d)
}
