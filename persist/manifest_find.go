package persist

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist/journal"
)

// Generation returns the generation with that number, or nil if m has none.
func (m *Manifest) Generation(number uint64) *GenerationMeta {
	for i := range m.Generations {
		if m.Generations[i].Number == number {
			return &m.Generations[i]
		}
	}
	return nil
}

// Segment returns the segment with that ID, and adds an empty one if g has none.
func (g *GenerationMeta) Segment(id uint64) *SegmentMeta {
	for i := range g.Segments {
		if g.Segments[i].ID == id {
			return &g.Segments[i]
		}
	}
	g.Segments = append(g.Segments, SegmentMeta{ID: id})
	return &g.Segments[len(g.Segments)-1]
}

// Stored returns how many runs g has, and their bytes in all.
func (g *GenerationMeta) Stored() (runs int, bytes int64) {
	for _, s := range g.Segments {
		runs += len(s.Runs)
		for i := range s.Runs {
			bytes += s.Runs[i].Bytes()
		}
	}
	return runs, bytes
}

// CheckSnapshot returns a *dedup.CorruptError if the snapshot of g in dir, which reaches
// to a position of the journal, was replaced by an older one than the manifest promises.
func (g *GenerationMeta) CheckSnapshot(dir string, reaches journal.Pos) error {
	if reaches >= g.Snapshot {
		return nil
	}
	return &dedup.CorruptError{File: SnapshotPath(dir, g.Number), Offset: -1,
		Detail: fmt.Sprintf("it reaches to position %d of the journal, the manifest promises %d", reaches, g.Snapshot)}
}

// Required turns the absence of a file that must be there into damage (I5); it returns
// other errors, and nil, as they are.
func Required(err error, path string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &dedup.CorruptError{File: path, Offset: -1, Detail: "the file is missing"}
	}
	return err
}
