package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
)

// Damage is one thing that Verify found wrong.
type Damage struct {
	File       string    `json:"file"`
	Offset     int64     `json:"offset"` // -1 where there is none
	Generation uint64    `json:"generation,omitempty"`
	Start      time.Time `json:"start"` // span of the window that is affected
	End        time.Time `json:"end"`
	Detail     string    `json:"detail"`
	Fatal      bool      `json:"fatal"` // false: a cache that is rebuilt at the next opening
}

// Verification is the sum of a Verify.
type Verification struct {
	Files   int      `json:"files"`
	Runs    int      `json:"runs"`
	Keys    uint64   `json:"keys"`
	Bytes   int64    `json:"bytes"`
	Damages []Damage `json:"damages"`
}

// verifier is a Verify under way.
type verifier struct {
	*inspector
	out      Verification
	progress func(done, total int64)
	total    int64
}

// Verify reads everything in dir and lists all damage; err is for what kept it
// from looking (ErrLocked, ErrIncompatible, fs.ErrNotExist, ctx). It repairs
// nothing; to read a segment it opens Badger, which tidies up its own files as
// it does at every opening. progress, when not nil, is told the bytes of runs
// checked so far and in all.
func Verify(ctx context.Context, dir string, progress func(done, total int64)) (Verification, error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	i, err := inspectDir(dir)
	if i != nil {
		defer i.close()
	}
	v := &verifier{inspector: i, progress: progress}
	v.out.Files++
	if errors.Is(err, dedup.ErrCorrupt) {
		v.damaged(nil, err, true)
		return v.out, nil
	}
	if err != nil {
		return v.out, fmt.Errorf("engine: verify %s: %w", dir, err)
	}
	v.out.Files += 2 // manifest and journal
	if _, _, _, err := v.scanJournal(ctx); err != nil {
		if !errors.Is(err, dedup.ErrCorrupt) {
			return v.out, fmt.Errorf("engine: verify %s: %w", dir, err)
		}
		m := v.manifest
		live := m.Generations[len(m.Generations)-1]
		v.damaged(&live, err, true)
	}
	for k := range v.manifest.Generations {
		for _, s := range v.manifest.Generations[k].Segments {
			for r := range s.Runs {
				v.total += s.Runs[r].Bytes()
			}
		}
	}
	for k := range v.manifest.Generations {
		if err := v.generation(ctx, &v.manifest.Generations[k]); err != nil {
			return v.out, fmt.Errorf("engine: verify %s: %w", dir, err)
		}
	}
	return v.out, nil
}

// generation checks the runs and the snapshot of one generation.
func (v *verifier) generation(ctx context.Context, g *persist.GenerationMeta) error {
	for _, sm := range g.Segments {
		v.out.Files++
		seg, runs, err := persist.SalvageSegment(persist.SegmentConfig{Dir: v.dir, ID: sm.ID}, sm)
		if err != nil {
			if !errors.Is(err, dedup.ErrCorrupt) {
				return err
			}
			v.damaged(g, err, true)
		}
		for _, r := range runs {
			if err := ctx.Err(); err != nil {
				return errors.Join(err, seg.Close())
			}
			m := r.Meta()
			if err := r.Verify(); err != nil {
				v.damaged(g, err, true)
			}
			v.out.Runs++
			v.out.Keys += m.Keys
			v.out.Bytes += m.Bytes()
			v.progress(v.out.Bytes, v.total)
		}
		if seg != nil {
			if err := seg.Close(); err != nil {
				return err
			}
		}
	}
	err := v.eachColumn(g.Number, func(column []byte) { v.out.Bytes += int64(len(column)) })
	if errors.Is(err, fs.ErrNotExist) {
		if v.identity.Approximate && v.manifest.Tail > 0 {
			v.damaged(g, missing(err, persist.SnapshotPath(v.dir, g.Number)), true)
		}
		return nil
	}
	v.out.Files++
	if err != nil {
		v.damaged(g, err, v.identity.Approximate)
	}
	return nil
}

// damaged lists err, which may be several joined, as damage of a generation.
func (v *verifier) damaged(g *persist.GenerationMeta, err error, fatal bool) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			v.damaged(g, one, fatal)
		}
		return
	}
	d := Damage{File: v.dir, Offset: -1, Detail: err.Error(), Fatal: fatal}
	var c *dedup.CorruptError
	if errors.As(err, &c) {
		d.File, d.Offset, d.Detail = c.File, c.Offset, c.Detail
	}
	if g != nil {
		d.Generation, d.Start, d.End = g.Number, time.Unix(0, g.Start), endTime(g.End)
	}
	v.out.Damages = append(v.out.Damages, d)
}

// diskBytes sums what the files of dir take on disk.
func diskBytes(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil // removed under our eyes
		}
		if err == nil {
			sum += allocated(info)
		}
		return err
	})
	return sum, err
}
