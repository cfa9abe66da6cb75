package persist

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist/journal"
)

// A Manifest says what must be there (I5). What it names was synced before it
// was written; what it does not name may be removed. It is replaced as a whole,
// so a crash leaves the old one or the new one. It has no lock of its own: the engine
// guards the present one by store.mu.
type Manifest struct {
	Sequence uint64 // counts replacements
	// Clock and Wall are the engine's clock, in ns, and the wall's, in Unix ns, at one time.
	// The journal was synced after they were read and before they are written here, so a
	// power loss takes no mark that was acknowledged by then. The next opening's clock is
	// Clock and what the wall has moved on since Wall.
	Clock       int64
	Wall        int64
	Window      int64            // of the options at the last opening, ns
	Span        int64            // of a generation, ns
	Generations []GenerationMeta // oldest first, numbers without a gap
	// Covered has a position for each shard: its frames that end at or below it are in runs.
	// Without a store they are in snapshots. A replay skips them.
	Covered []journal.Pos
	// Tail is where replay starts. No frame below it is needed: its keys are in runs or older
	// than the window, and generations that begin there are listed here. Only what this says
	// on disk may be given to Journal.Release.
	Tail journal.Pos
	// NextID is the highest number given to a segment, a run or results. A crash leaves
	// directories with higher ones, and an opening raises it above those that it finds.
	NextID   uint64
	NextSeq  uint64 // reserved, 0
	Capacity uint64 // keys per window that the filters are sized for
	Lost     []GapMeta
	Results  []ResultsMeta // in no particular order
}

// GenerationMeta describes one generation that has not been retired.
type GenerationMeta struct {
	Number     uint64
	Start, End int64  // engine clock, ns; End 0: still live
	Keys       uint64 // of its runs, tombstones apart
	// Snapshot promises, where there are no runs, that the generation's snapshot
	// is there and holds all that was journaled below; 0 promises nothing.
	Snapshot journal.Pos
	Segments []SegmentMeta
}

// SegmentMeta describes one segment. Runs are in no particular order.
type SegmentMeta struct {
	ID   uint64
	Runs []RunMeta
}

// RunMeta describes one run completely: a store that gives less is corrupt.
type RunMeta struct {
	ID         uint64
	Shard      uint16
	Form       uint8
	Tombstones bool
	Zeros      uint8  // low bits that are 0 in every key's order
	Seq        uint64 // order of the tables within a shard; a tombstone overrides what has a lower one
	Keys       uint64
	MaxPos     journal.Pos // every key of it was journaled below this
	Blocks     uint32      // at least 1
	Values     []ValueMeta
	Index      ValueMeta
	Sum        uint64 // of all keys' hashes, whatever their order
}

// ValueMeta is the length and the CRC32C of one Badger value.
type ValueMeta struct{ Bytes, CRC uint32 }

// GapMeta is a part of the window that is known to be lost, noted so that no
// later opening takes the rest for the whole. It goes with its generation.
type GapMeta struct {
	Generation uint64
	Start, End int64 // engine clock, ns; End 0: not over yet
	Blind      bool  // the lost keys are in no filter either
	Accepted   bool  // the operator said that its keys may count as new
	Reason     string
}

// ReadManifest reads dir's manifest. Errors are as of ReadIdentity.
func ReadManifest(fsys vfs.FS, dir string) (*Manifest, error) {
	path := filepath.Join(dir, ManifestName)
	data, err := readSealed(fsys, path)
	if err != nil {
		return nil, err
	}
	return DecodeManifest(data, path)
}

// WriteManifest replaces dir's manifest, atomically and durably. Every run that
// it names must have been synced before (Segment.Sync), and the journal up to what Covered
// says (Journal.Sync). When it fails, the old or the new manifest may be in place (I7), so
// nothing may be removed that the old one names.
func WriteManifest(fsys vfs.FS, dir string, m *Manifest) error {
	if err := vfs.WriteFileAtomic(fsys, filepath.Join(dir, ManifestName), m.Encode()); err != nil {
		return fmt.Errorf("persist: %w", err)
	}
	return nil
}

// Clone returns a copy that shares nothing with m, so that one can be prepared
// while the other is read.
func (m *Manifest) Clone() *Manifest {
	c := *m
	c.Covered = slices.Clone(m.Covered)
	c.Lost = slices.Clone(m.Lost)
	c.Results = slices.Clone(m.Results)
	c.Generations = slices.Clone(m.Generations)
	for i := range c.Generations {
		g := &c.Generations[i]
		g.Segments = slices.Clone(g.Segments)
		for j := range g.Segments {
			s := &g.Segments[j]
			s.Runs = slices.Clone(s.Runs)
			for k := range s.Runs {
				s.Runs[k].Values = slices.Clone(s.Runs[k].Values)
			}
		}
	}
	return &c
}
