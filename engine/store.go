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
	dir      string
	fs       vfs.FS
	logger   *slog.Logger
	unsynced bool                      // the directory ends with the process
	told     func(m *persist.Manifest) // of each manifest that is on disk

	// runs holds what a shard's confirms ask, newest first. A list never
	// changes; it is replaced with the shard locked.
	runs    [shards.MaxShards]atomic.Pointer[[]runEntry]
	lookups sync.Pool    // of *lookup
	help    chan *shared // to the helpers

	mu       sync.Mutex // guards what follows; never held by a call
	manifest persist.Manifest
	segments map[uint64]*persist.Segment // by ID
	writing  map[uint64]uint64           // generation to the segment that takes its runs
	busy     map[uint64]int              // segments that flushes under way write to
	dropped  map[uint64]bool             // segments that the manifest has stopped naming, not yet removed
}

func newStore(dir string, fsys vfs.FS, logger *slog.Logger) *store {
	s := &store{dir: dir, fs: fsys, logger: logger, segments: map[uint64]*persist.Segment{}, writing: map[uint64]uint64{},
		busy: map[uint64]int{}, dropped: map[uint64]bool{}, help: make(chan *shared)}
	s.lookups.New = func() any { return new(lookup) }
	return s
}

// segmentFor returns the segment that takes a generation's runs, with room for so
// many bytes, and makes one if there is none. It is promised by the manifest with
// its first run. maxBytes is what all of the generation's are expected to take.
func (s *store) segmentFor(generation uint64, room, maxBytes int64) (*persist.Segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.segmentForLocked(generation, room, maxBytes)
}

func (s *store) segmentForLocked(generation uint64, room, maxBytes int64) (*persist.Segment, error) {
	if id, ok := s.writing[generation]; ok {
		old := s.segments[id]
		if old.Room() >= room {
			return old, nil
		}
		if old.Bytes() == 0 && s.busy[id] == 0 {
			s.dropped[id] = true // no manifest will ever name it
		}
	}
	seg, err := s.newSegmentLocked(max(room, maxBytes))
	if err == nil {
		s.writing[generation] = seg.ID()
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
		s.busy[seg.ID()]++
	}
	return seg, err
}

func (s *store) endWrite(seg *persist.Segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[seg.ID()]--; s.busy[seg.ID()] == 0 {
		delete(s.busy, seg.ID())
	}
}

// newSegment makes a segment that no generation's flushes go to.
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

// update changes the manifest and replaces it on disk. If that fails, the old
// one holds.
func (s *store) update(change func(m *persist.Manifest)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.manifest.Clone()
	change(m)
	m.Sequence++
	if err := persist.WriteManifest(s.fs, s.dir, m); err != nil {
		return err
	}
	for id := range segmentIDs(&s.manifest) {
		s.dropped[id] = true
	}
	for id := range segmentIDs(m) {
		delete(s.dropped, id)
	}
	s.manifest = *m
	s.told(m)
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
	for g, id := range s.writing {
		if g < oldest {
			gone[id] = true
		}
	}
	return gone
}

// view lends the manifest as it is now; it must not be changed.
func (s *store) view(look func(m *persist.Manifest)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	look(&s.manifest)
}

// remove takes segments out of the world; the manifest no longer names them.
func (s *store) remove(ids map[uint64]bool) error {
	var errs []error
	for id := range ids {
		s.mu.Lock()
		seg := s.segments[id]
		delete(s.segments, id)
		for g, w := range s.writing {
			if w == id {
				delete(s.writing, g)
			}
		}
		s.mu.Unlock()
		if seg != nil {
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

// mergeable picks the segments of a generation to merge, with the bytes they hold,
// and sees to it that no later flush writes to them. There are none where all that
// fits into one segment is merged.
func (s *store) mergeable(generation uint64, all bool) (picked map[uint64]bool, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.manifest.Generation(generation)
	if g == nil {
		return nil, 0
	}
	var segs []*persist.Segment
	for i := range g.Segments {
		if seg := s.segments[g.Segments[i].ID]; seg != nil && s.busy[seg.ID()] == 0 {
			segs = append(segs, seg)
		}
	}
	slices.SortFunc(segs, func(a, b *persist.Segment) int { return cmp.Compare(a.Bytes(), b.Bytes()) })
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
			if picked[s.writing[generation]] {
				delete(s.writing, generation)
			}
			return picked, bytes
		}
	}
	return nil, 0
}

// mergesAny reports whether some shard and form has more than one run in the segments.
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
