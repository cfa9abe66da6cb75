package inspect

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"path/filepath"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/persist"
)

// planSegment saves what can be read of damaged runs into a segment of its own;
// sound is how many others the old one has. saved and lost are keys, tombstones
// apart.
func (r *repairer) planSegment(ctx context.Context, g *persist.GenerationMeta, old persist.SegmentMeta, sound int) (saved, lost uint64, err error) {
	name := filepath.Base(persist.SegmentPath(r.dir, old.ID))
	readable := map[uint64]uint64{} // run to keys
	all := uint64(0)
	if !r.badSegments[old.ID] {
		err := r.eachRun(old, func(run *persist.Run) error {
			gone, err := run.Salvage(func(*persist.Block) error { return ctx.Err() })
			if err != nil && !errors.Is(err, dedup.ErrCorrupt) {
				return err
			}
			if m := run.Meta(); gone < m.Keys {
				readable[m.ID] = m.Keys - gone
			}
			return nil
		})
		if err != nil {
			return 0, 0, err
		}
	}
	for _, m := range old.Runs {
		all += readable[m.ID]
		if !m.Tombstones {
			saved += readable[m.ID]
			lost += m.Keys - readable[m.ID]
		}
	}
	if all > 0 {
		number := g.Number
		r.step(func() error { return r.salvage(number, old, readable) },
			"save %d keys of %d damaged runs of %s into a new segment", all, len(old.Runs), name)
	}
	aside := func() error { return r.moveAside(persist.SegmentPath(r.dir, old.ID)) }
	switch {
	case r.badSegments[old.ID]:
		r.step(aside, "move the segment %s aside, which can't be opened", name)
	case sound == 0:
		// After the manifest: until then what was saved is in the old one alone.
		r.after = append(r.after, step{fmt.Sprintf("move the segment %s aside, of which no run is whole", name), aside})
	case all == 0:
		r.step(func() error { return nil }, "give up %d damaged runs of %s", len(old.Runs), name)
	}
	return saved, lost, nil
}

// eachRun opens the runs of a segment that can be opened.
func (r *repairer) eachRun(sm persist.SegmentMeta, do func(run *persist.Run) error) error {
	seg, runs, err := persist.SalvageSegment(persist.SegmentConfig{Dir: r.dir, ID: sm.ID}, sm)
	if seg == nil {
		return err
	}
	for _, run := range runs {
		if err := do(run); err != nil {
			return errors.Join(err, seg.Close())
		}
	}
	return seg.Close()
}

// salvage writes the readable blocks of damaged runs to a new segment and
// promises it.
func (r *repairer) salvage(generation uint64, old persist.SegmentMeta, readable map[uint64]uint64) error {
	ids, err := persist.ListSegmentDirs(r.dir)
	if err != nil {
		return err
	}
	for _, id := range ids {
		r.m.NextID = max(r.m.NextID, id)
	}
	r.m.NextID++
	var bytes int64
	for i := range old.Runs {
		bytes += old.Runs[i].Bytes()
	}
	seg, err := persist.CreateSegment(persist.SegmentConfig{Dir: r.dir, ID: r.m.NextID, MaxBytes: bytes})
	if err != nil {
		return err
	}
	sm := persist.SegmentMeta{ID: seg.ID()}
	hasher, shardBits := r.hasher(), bits.TrailingZeros16(r.identity.Shards)
	err = r.eachRun(old, func(run *persist.Run) error {
		m := run.Meta()
		if readable[m.ID] == 0 {
			return nil
		}
		r.m.NextID++
		w := seg.NewRun(persist.RunSpec{ID: r.m.NextID, Shard: m.Shard, Form: m.Form, Tombstones: m.Tombstones,
			Zeros: m.Zeros, Seq: m.Seq, MaxKeys: m.Keys, MaxPos: m.MaxPos})
		_, err := run.Salvage(func(b *persist.Block) error {
			for i := range b.Len() {
				if hash.Form(m.Form).Fixed() {
					w.Add(b.Pair(i))
				} else {
					w.AddBytes(hasher.Record(b.Key(i))<<shardBits, b.Key(i))
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, dedup.ErrCorrupt) {
			return err
		}
		saved, err := w.Finish()
		if err == nil {
			sm.Runs = append(sm.Runs, saved.Meta())
		}
		return err
	})
	if err == nil {
		err = seg.Sync()
	}
	if err = errors.Join(err, seg.Close()); err != nil {
		return err
	}
	g := r.m.Generation(generation)
	g.Segments = append(g.Segments, sm)
	g.Keys = keysOf(g)
	return nil
}
