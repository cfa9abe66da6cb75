package engine

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/shards"
)

// A store keeps the manifest, the segments and what each shard's look-ups have
// to ask. In Approximate mode it has a manifest only.
type store struct {
	dir        string
	fs         vfs.FS
	logger     *slog.Logger
	unsynced   bool                      // the directory ends with the process: see Options.Temporary
	onManifest func(m *persist.Manifest) // called with each manifest that is on disk, mu held

	// runs holds the runs that a shard's look-ups ask, newest first. A list never changes: it
	// is replaced with the shard locked, and read without any lock.
	runs    [shards.MaxShards]atomic.Pointer[[]runEntry]
	lookups sync.Pool         // of *lookup
	help    chan *sharedBatch // to the helpers

	// mu guards what follows. It is held while a manifest is written, so no call takes it
	// while it decides about keys (I8).
	mu sync.Mutex
	// manifest is the one on disk, but for NextID, which runs ahead: numbers that were given out
	// since are told by the next one. After a crash findOrphans skips those that were used.
	manifest persist.Manifest
	segments map[uint64]*persist.Segment // by ID; all that are open
	current  map[uint64]uint64           // generation to the segment that takes its new runs
	// writers is how many tables of flushes under way go to a segment: no merge takes it. From
	// beginWrite to endWrite, which comes when a manifest names the runs.
	writers map[uint64]int
	// dropped are segments that the manifest on disk names no more, or never will, and that are
	// not yet removed.
	dropped map[uint64]bool
}

func newStore(dir string, fsys vfs.FS, logger *slog.Logger) *store {
	s := &store{dir: dir, fs: fsys, logger: logger, segments: map[uint64]*persist.Segment{}, current: map[uint64]uint64{},
		writers: map[uint64]int{}, dropped: map[uint64]bool{}, help: make(chan *sharedBatch)}
	s.lookups.New = func() any { return new(lookup) }
	return s
}

// segmentFor returns the segment that takes a generation's new runs, with room for so many
// bytes, and makes one if there is none. A manifest names it with its first run. maxBytes is
// what all runs of the generation are expected to take.
func (s *store) segmentFor(generation uint64, room, maxBytes int64) (*persist.Segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.segmentForLocked(generation, room, maxBytes)
}

func (s *store) segmentForLocked(generation uint64, room, maxBytes int64) (*persist.Segment, error) {
	if id, ok := s.current[generation]; ok {
		old := s.segments[id]
		if old.Room() >= room {
			return old, nil
		}
		// A full one keeps its runs and takes no more. An empty one, which afterRotation made too
		// small, would lie there until its generation leaves: no manifest will ever name it.
		if old.Bytes() == 0 && s.writers[id] == 0 {
			s.dropped[id] = true
		}
	}
	seg, err := s.newSegmentLocked(max(room, maxBytes))
	if err == nil {
		s.current[generation] = seg.ID()
	}
	return seg, err
}

// beginWrite is segmentFor for a flush: until endWrite no merge takes the segment,
// so that a run never ends up in a segment that is being replaced.
func (s *store) beginWrite(generation uint64, room, maxBytes int64) (*persist.Segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg, err := s.segmentForLocked(generation, room, maxBytes)
	if err == nil {
		s.writers[seg.ID()]++
	}
	return seg, err
}

// endWrite lets merges have the segment, once for each beginWrite. The manifest names the runs by
// then, or they are orphans.
func (s *store) endWrite(seg *persist.Segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writers[seg.ID()]--; s.writers[seg.ID()] == 0 {
		delete(s.writers, seg.ID())
	}
}

// newSegment makes a segment that no generation's flushes go to: a merge's. Making one takes the
// disk's time with mu held, 5 to 8 ms.
func (s *store) newSegment(maxBytes int64) (*persist.Segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newSegmentLocked(maxBytes)
}

func (s *store) newSegmentLocked(maxBytes int64) (*persist.Segment, error) {
	s.manifest.NextID++
	seg, err := persist.CreateSegment(persist.SegmentConfig{Dir: s.dir, ID: s.manifest.NextID, MaxBytes: maxBytes, Logger: s.logger, Unsynced: s.unsynced})
	if err == nil {
		s.segments[seg.ID()] = seg
	}
	return seg, err
}

// nextID returns a number for a run.
func (s *store) nextID() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manifest.NextID++
	return s.manifest.NextID
}

// update changes the manifest and replaces it on disk. If that fails the old one holds. mu is
// held throughout, so change sees what the manifest before said, and two writers can't undo
// each other. Segments are dropped only by a manifest that is on disk: one that is not might
// still be needed by the next opening (I5).
func (s *store) update(change func(m *persist.Manifest)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.manifest.Clone()
	change(m)
	m.Sequence++
	if err := persist.WriteManifest(s.fs, s.dir, m); err != nil {
		return err
	}
	// What the one before named and this one does not.
	for id := range segmentIDs(&s.manifest) {
		s.dropped[id] = true
	}
	for id := range segmentIDs(m) {
		delete(s.dropped, id)
	}
	s.manifest = *m
	s.onManifest(m)
	return nil
}

func segmentIDs(m *persist.Manifest) map[uint64]bool {
	ids := map[uint64]bool{}
	for i := range m.Generations {
		for _, s := range m.Generations[i].Segments {
			ids[s.ID] = true
		}
	}
	return ids
}

// takeDropped returns the segments that can be removed: the manifest on disk names
// them no more, or never did, because no run was written to them before their
// generation left it. What the window says has no part in it: a generation may
// leave the window while the manifest still names its segments.
func (s *store) takeDropped() map[uint64]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone, oldest := s.dropped, s.manifest.Generations[0].Number
	s.dropped = map[uint64]bool{}
	for g, id := range s.current {
		if g < oldest {
			gone[id] = true
		}
	}
	return gone
}

// view lends the manifest as it is now; it must not be changed, nor kept. look may
// take locks that stand to the right of mu in DESIGN.md (Locks), and no others.
func (s *store) view(look func(m *persist.Manifest)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	look(&s.manifest)
}

// remove closes segments that the manifest no longer names and removes their directories.
// Look-ups under way keep a segment pinned, and closing waits for them.
func (s *store) remove(ids map[uint64]bool) error {
	var errs []error
	for id := range ids {
		s.mu.Lock()
		seg := s.segments[id]
		delete(s.segments, id)
		for g, w := range s.current {
			if w == id {
				delete(s.current, g)
			}
		}
		s.mu.Unlock()
		if seg != nil {
			// Without mu: it waits for readers and for the disk.
			errs = append(errs, seg.Remove())
		} else {
			errs = append(errs, persist.RemoveSegmentDir(s.dir, id))
		}
	}
	return errors.Join(errs...)
}

func (s *store) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, seg := range s.segments {
		errs = append(errs, seg.Close())
	}
	s.segments = nil
	return errors.Join(errs...)
}

// damaged makes a CorruptError for the manifest's directory.
func (s *store) damaged(format string, args ...any) error {
	return &dedup.CorruptError{File: s.dir, Offset: -1, Detail: fmt.Sprintf(format, args...)}
}

// mergeable picks the segments of a generation to merge, with the bytes they hold, and keeps
// later flushes from writing to them. It picks the smallest ones that together fit into one
// segment; none if they are merged already.
//
// checkFree is asked whether there is room for so many bytes. After its error flushes keep their
// segment: a merge that waits for room would otherwise have them begin another one with each try.
// It is called with mu held, so that no flush begins in between.
func (s *store) mergeable(generation uint64, all bool, checkFree func(int64) error) (
	picked map[uint64]bool, bytes int64, err error,
) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.manifest.Generation(generation)
	if g == nil {
		return nil, 0, nil
	}
	var segs []*persist.Segment
	for i := range g.Segments {
		if seg := s.segments[g.Segments[i].ID]; seg != nil && s.writers[seg.ID()] == 0 {
			segs = append(segs, seg)
		}
	}
	slices.SortFunc(segs, func(a, b *persist.Segment) int { return cmp.Compare(a.Bytes(), b.Bytes()) })
	// Ascending by size: those that follow the first one join while they are not much larger than
	// all before them together, so that a key is rewritten a few times at most.
	for from := range segs {
		picked, bytes = map[uint64]bool{}, 0
		for i, seg := range segs[from:] {
			if i > 0 && (!all && seg.Bytes() > mergeRatio*bytes || bytes+seg.Bytes() > persist.MaxSegment) {
				break
			}
			picked[seg.ID()] = true
			bytes += seg.Bytes()
		}
		if mergesAny(g, picked) {
			if err := checkFree(bytes); err != nil {
				return nil, 0, err
			}
			if picked[s.current[generation]] {
				delete(s.current, generation)
			}
			return picked, bytes, nil
		}
	}
	return nil, 0, nil
}

// mergesAny reports whether some shard and form has more than one run in the segments. Otherwise a
// merge would copy them for nothing, again and again.
func mergesAny(g *persist.GenerationMeta, picked map[uint64]bool) bool {
	type kind struct {
		shard uint16
		form  uint8
	}
	there := map[kind]bool{}
	for i := range g.Segments {
		if !picked[g.Segments[i].ID] {
			continue
		}
		for j := range g.Segments[i].Runs {
			m := &g.Segments[i].Runs[j]
			k := kind{m.Shard, m.Form}
			if there[k] {
				return true
			}
			there[k] = true
		}
	}
	return false
}
