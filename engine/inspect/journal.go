package inspect

import (
	"context"
	"errors"
	"fmt"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// journalLook is what reading a journal without changing it tells. After an
// error it holds what came before the damage.
type journalLook struct {
	keys       uint64 // marks that a replay would bring
	frames     int
	bytes      int64  // of frames that a replay needs
	newest     int64  // time of the last frame
	generation uint64 // newest that a frame begins
	start      int64  // of that generation
	found      journal.Replayed
	state      journal.State
	results    persist.ResultPromises // of the manifest, and what the frames add
}

// read scans the journal at path from the manifest's tail on. keep, when not nil,
// is given every frame that a replay needs.
func (l *journalLook) read(ctx context.Context, i *inspector, path string, keep func(f *journal.Frame) error) error {
	l.results = persist.PromisedResults(i.manifest.Results)
	if _, err := i.fs.Stat(path); err != nil {
		return persist.Required(err, path)
	}
	j, err := journal.Open(journal.Config{FS: i.fs, Path: path})
	if err != nil {
		return err
	}
	m := i.manifest
	live := uint64(0)
	if n := len(m.Generations); n > 0 {
		live = m.Generations[n-1].Number
	}
	l.found, err = j.Scan(m.Tail, func(f *journal.Frame) error {
		l.newest = max(l.newest, f.Time)
		switch {
		case f.Kind == journal.KindRotate:
			if f.Generation <= max(live, l.generation) {
				return ctx.Err() // the manifest knows it
			}
			start, _, ok := f.Rotation()
			if !ok {
				return l.strange(path, f, "a rotation of the wrong length")
			}
			l.generation, l.start = f.Generation, start
		case f.Kind == journal.KindResults:
			if !l.results.Add(f) {
				return l.strange(path, f, "a promise of results of the wrong length")
			}
		case f.Generation > max(live, l.generation):
			return l.strange(path, f, "keys of a generation that did not begin")
		case int(f.Shard) >= len(m.Covered):
			return l.strange(path, f, "keys of a shard that is not there")
		case f.End <= m.Covered[f.Shard]:
			return ctx.Err()
		case f.Kind == journal.KindMark:
			l.keys += uint64(f.Count)
		}
		l.frames++
		l.bytes += int64(journal.FrameSpace(len(f.Payload)))
		if keep != nil {
			return keep(f)
		}
		return ctx.Err()
	})
	l.state = j.State()
	return errors.Join(err, j.Close(false))
}

func (l *journalLook) strange(path string, f *journal.Frame, what string) error {
	return &dedup.CorruptError{File: path, Offset: -1,
		Detail: fmt.Sprintf("the frame that ends at position %d: %s (generation %d, shard %d)", f.End, what, f.Generation, f.Shard)}
}
