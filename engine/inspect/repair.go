package inspect

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/nanotime"
	"github.com/firstseen/firstseen/persist"
)

// RepairOptions say what Repair may do.
type RepairOptions struct {
	// DryRun finds out what would be done and changes nothing.
	DryRun bool
	// Accept says that the operator accepts the loss: an engine with OnGap:
	// Refuse opens, and keys that were marked in a gap are new to it. Without it
	// a repaired directory opens with OnGap: Report only, until the generation of
	// the gap is older than the window.
	Accept bool
	// Window of the stream; needed only when the manifest is lost and no snapshot
	// tells it.
	Window time.Duration
	// Now is the clock, for tests. Default time.Now.
	Now func() time.Time
}

// Repaired is what Repair did, or would do.
type Repaired struct {
	Dir      string   `json:"dir"`
	Damages  []Damage `json:"damages"`
	Actions  []string `json:"actions"`         // one sentence each, in their order; none: nothing to do
	Gaps     []Gap    `json:"gaps"`            // all that are known then
	Kept     uint64   `json:"kept_keys"`       // in runs and in the journal
	Lost     uint64   `json:"lost_keys"`       // counted in runs; what a journal or a snapshot lost can't be counted
	Accepted bool     `json:"accepted"`        // the gaps
	Aside    string   `json:"aside,omitempty"` // where damaged files were moved to
	Done     bool     `json:"done"`            // false: a dry run, or nothing to do
}

// repairer is a Repair under way.
type repairer struct {
	*verifier
	opts  RepairOptions
	out   Repaired
	m     *persist.Manifest // the one to be written
	clock int64             // engine time
	steps []step            // in their order; the manifest is written after them
	after []step            // once it is
}

// step is one change and what it is for.
type step struct {
	what string
	do   func() error
}

// Repair keeps what is sound in dir and gives up the rest: it notes the gap in
// the manifest, so that every opening knows of it. Of damaged runs it keeps all
// blocks that are whole; of a damaged journal the frames before the damage; a
// damaged snapshot is made anew at the next opening (Approximate engines lose its
// generation). Without a manifest nothing can be kept, and the whole window is
// the gap. What is given up is moved into a directory damaged-<n> of dir, never
// deleted.
//
// A damaged or missing identity can't be repaired (ErrCorrupt): it holds the
// secret seed that every hash depends on. Other errors are those of Verify. An
// interrupted Repair can be repeated.
func Repair(ctx context.Context, dir string, opts RepairOptions) (Repaired, error) {
	fail := func(err error) error { return fmt.Errorf("engine: repair %s: %w", dir, err) }
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Window < 0 || opts.Window > nanotime.MaxSpan {
		return Repaired{}, fail(fmt.Errorf("the window is %v, it must be at most %v", opts.Window, nanotime.MaxSpan))
	}
	v, err := newVerifier(dir, nil)
	if v == nil {
		return Repaired{}, fail(err)
	}
	r := &repairer{verifier: v, opts: opts, out: Repaired{Dir: dir}}
	if err == nil {
		err = r.repair(ctx)
	}
	if cerr := v.close(); err == nil {
		err = cerr
	}
	r.out.Damages = v.out.Damages
	if err != nil {
		return r.out, fail(err)
	}
	return r.out, nil
}

func (r *repairer) repair(ctx context.Context) error {
	if r.identity.Shards == 0 {
		return fmt.Errorf("the identity is lost, and with it the secret seed: nothing of this directory can be read; begin with a new one: %w", dedup.ErrCorrupt)
	}
	if err := r.finishJournal(ctx); err != nil {
		return err
	}
	if err := r.verify(ctx); err != nil {
		return err
	}
	var err error
	if r.unreadable {
		err = r.planAnew()
	} else {
		err = r.plan(ctx)
	}
	if err != nil {
		return err
	}
	r.acceptGaps()
	r.out.Gaps = gapsOf(r.m.Lost)
	for _, s := range append(slices.Clone(r.steps), r.after...) {
		r.out.Actions = append(r.out.Actions, s.what)
	}
	if r.opts.DryRun || len(r.out.Actions) == 0 {
		return nil
	}
	return r.apply(ctx)
}

func (r *repairer) apply(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	for _, s := range r.steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	r.m.Sequence++
	if err := persist.WriteManifest(r.fs, r.dir, r.m); err != nil {
		return err
	}
	for _, s := range r.after {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	r.out.Done = true
	return nil
}

func (r *repairer) step(do func() error, format string, args ...any) {
	r.steps = append(r.steps, step{fmt.Sprintf(format, args...), do})
}

// plan goes through what the verifier found; the manifest is sound.
func (r *repairer) plan(ctx context.Context) error {
	r.m = r.manifest.Clone()
	wall, ok := nanotime.Of(r.opts.Now())
	if !ok {
		return nanotime.RangeError(r.opts.Now())
	}
	r.clock = max(nanotime.Add(r.m.Clock, max(0, wall-r.m.Wall)), r.journal.newest)
	for k := range r.m.Generations {
		if err := r.planGeneration(ctx, &r.m.Generations[k]); err != nil {
			return err
		}
	}
	r.planResults()
	r.out.Kept += r.journal.keys
	if r.badJournal != nil {
		r.planJournal(ctx)
	}
	return nil
}

// planGeneration gives up what is damaged of a generation and saves the rest of
// its damaged runs.
func (r *repairer) planGeneration(ctx context.Context, g *persist.GenerationMeta) error {
	var damaged []persist.RunMeta
	lost := uint64(0)
	for k := range g.Segments {
		s := &g.Segments[k]
		old := persist.SegmentMeta{ID: s.ID}
		s.Runs = slices.DeleteFunc(s.Runs, func(m persist.RunMeta) bool {
			if r.badRuns[m.ID] {
				old.Runs = append(old.Runs, m)
			}
			return r.badRuns[m.ID]
		})
		for _, m := range s.Runs {
			r.out.Kept += m.Keys
		}
		if len(old.Runs) == 0 && !r.badSegments[s.ID] {
			continue
		}
		damaged = append(damaged, old.Runs...)
		saved, gone, err := r.planSegment(ctx, g, old, len(s.Runs))
		if err != nil {
			return err
		}
		r.out.Kept += saved
		lost += gone
	}
	g.Segments = slices.DeleteFunc(g.Segments, func(s persist.SegmentMeta) bool {
		return r.badSegments[s.ID] || len(s.Runs) == 0
	})
	g.Keys = keysOf(g)
	snapErr := r.badSnaps[g.Number]
	if snapErr != nil {
		path := persist.SnapshotPath(r.dir, g.Number)
		r.step(func() error { return r.moveAside(path) }, "move the damaged snapshot %s aside", filepath.Base(path))
		g.Snapshot = 0
	}
	if r.identity.Approximate && snapErr != nil {
		r.noteGap(g, true, "its snapshot was lost: "+snapErr.Error())
	}
	if lost > 0 || slices.ContainsFunc(damaged, func(m persist.RunMeta) bool { return m.Tombstones }) {
		end, ok := r.snapEnds[g.Number]
		blind := !ok || slices.ContainsFunc(damaged, func(m persist.RunMeta) bool { return m.MaxPos > end })
		r.noteGap(g, blind, fmt.Sprintf("%d of its keys were lost", lost))
		r.out.Lost += lost
	}
	return nil
}

func keysOf(g *persist.GenerationMeta) (keys uint64) {
	for _, s := range g.Segments {
		for _, m := range s.Runs {
			if !m.Tombstones {
				keys += m.Keys
			}
		}
	}
	return keys
}

// noteGap notes a gap of a generation, or makes a known one blind.
func (r *repairer) noteGap(g *persist.GenerationMeta, blind bool, reason string) {
	for k := range r.m.Lost {
		if l := &r.m.Lost[k]; l.Generation == g.Number {
			l.Blind = l.Blind || blind
			l.Accepted = l.Accepted && r.opts.Accept
			return
		}
	}
	r.m.Lost = append(r.m.Lost, persist.GapMeta{Generation: g.Number, Start: g.Start, End: g.End, Blind: blind, Reason: reason})
}

// acceptGaps marks all gaps as accepted, where asked for.
func (r *repairer) acceptGaps() {
	r.out.Accepted = len(r.m.Lost) > 0
	for k := range r.m.Lost {
		g := &r.m.Lost[k]
		if r.opts.Accept && !g.Accepted {
			g.Accepted = true
			r.step(func() error { return nil }, "accept that keys marked in the gap of generation %d count as new", g.Generation)
		}
		r.out.Accepted = r.out.Accepted && g.Accepted
	}
}

// moveAside moves a file or directory of ours into the directory for damaged
// ones. What is not there needs no moving.
func (r *repairer) moveAside(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if r.out.Aside == "" {
		for n := 1; n < math.MaxInt32; n++ {
			aside := filepath.Join(r.dir, fmt.Sprintf("damaged-%d", n))
			err := os.Mkdir(aside, 0o755)
			if err == nil {
				r.out.Aside = aside
				break
			}
			if !errors.Is(err, os.ErrExist) {
				return err
			}
		}
	}
	if err := os.Rename(path, filepath.Join(r.out.Aside, filepath.Base(path))); err != nil {
		return err
	}
	if err := r.fs.SyncDir(r.out.Aside); err != nil {
		return err
	}
	return r.fs.SyncDir(r.dir)
}

// hasher returns the directory's hash function.
func (r *repairer) hasher() *hash.Hasher { return hash.New(r.identity.Seed, r.identity.Untrusted) }
