package inspect

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
)

// heldResults returns the promised results that a window may still ask for, oldest first.
func (v *verifier) heldResults() (held []*persist.ResultPromise) {
	oldest := v.manifest.Generations[0].Number
	for _, p := range v.journal.results {
		if p.Generation >= oldest {
			held = append(held, p)
		}
	}
	slices.SortFunc(held, func(a, b *persist.ResultPromise) int {
		return cmp.Or(cmp.Compare(a.Generation, b.Generation), cmp.Compare(a.ID, b.ID))
	})
	return held
}

// checkResults reads all results.
func (v *verifier) checkResults(ctx context.Context) error {
	for _, p := range v.heldResults() {
		if err := v.checkResultDir(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// checkResultDir checks the results of one generation. What was known to be lost is no new damage.
func (v *verifier) checkResultDir(ctx context.Context, p *persist.ResultPromise) error {
	dir, done, err := v.writable(persist.ResultsPath(v.dir, p.ID))
	if err != nil {
		return err
	}
	return errors.Join(v.checkResultsIn(ctx, dir, p), done())
}

// checkResultsIn is checkResultDir where dir holds the results, or their copy.
func (v *verifier) checkResultsIn(ctx context.Context, dir string, p *persist.ResultPromise) error {
	v.out.Files++
	damaged := func(err error) {
		v.badResults[p.ID] = err
		if !p.Lost {
			v.damaged(v.manifest.Generation(p.Generation), err, true)
			v.out.Damages[len(v.out.Damages)-1].Generation = p.Generation
		}
	}
	r, err := persist.OpenResults(persist.ResultsConfig{Dir: dir, ID: p.ID})
	if errors.Is(err, dedup.ErrCorrupt) {
		v.badResultDirs[p.ID] = true
		damaged(err)
		return nil
	}
	if err != nil {
		return err
	}
	scan := persist.NewResultScan(p)
	err = r.Verify(func(key []byte, seq uint64) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		return scan.See(key, seq)
	}, damaged)
	if err == nil {
		err = scan.Missing(r.Path())
	}
	v.out.Results += scan.All.Count
	if errors.Is(err, dedup.ErrCorrupt) {
		damaged(err)
		err = nil
	}
	return errors.Join(err, r.Close())
}

// planResults notes which results are lost, and moves those aside that can't be opened. The marks are
// not concerned.
func (r *repairer) planResults() {
	for _, p := range r.heldResults() {
		bad := r.badResults[p.ID]
		if bad == nil {
			continue
		}
		name := filepath.Base(persist.ResultsPath(r.dir, p.ID))
		i := slices.IndexFunc(r.m.Results, func(m persist.ResultsMeta) bool { return m.ID == p.ID })
		if i < 0 {
			r.m.Results = append(r.m.Results, p.Base)
			i = len(r.m.Results) - 1
		}
		if !r.m.Results[i].Lost {
			r.m.Results[i].Lost = true
			r.step(func() error { return nil }, "note that results of generation %d are lost: claims of its keys get ErrResultLost", p.Generation)
		}
		if r.badResultDirs[p.ID] {
			if there, err := persist.ListResults(r.dir); err == nil && slices.Contains(there, p.ID) {
				r.step(func() error { return r.moveAside(persist.ResultsPath(r.dir, p.ID)) }, "move the results %s aside, which can't be opened", name)
			}
		}
	}
}
