package engine

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"

	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/shards"
)

// recordsAhead is by how many keys a flush prefetches the records, which lie in
// the order of their arrival.
const recordsAhead = 16

// write makes a table's runs in its generation's segment; none if the
// generation is older than the window, even if it became so on the way. follow: see persist.RunSpec.
func (fl *flusher) write(u *shards.Unflushed, follow int64) (f flushed, err error) {
	f.table = u
	// Its marks are out of all answers. This also spares a segment for a generation that no
	// manifest will name again.
	if !fl.e.window.holds(u.Generation) {
		return f, nil
	}
	f.segment, err = fl.e.store.beginWrite(u.Generation, int64(u.RunBytes()), fl.e.segmentBytes())
	if err == nil {
		f.runs, err = fl.writeRuns(f.segment, u, follow)
	}
	if err != nil && !fl.e.window.holds(u.Generation) {
		// Its segment was removed under our hands: afterRotation does not wait for flushes to segments
		// of generations that have left.
		f.runs, err = nil, nil
	}
	return f, err
}

// writeRuns writes one run for each form of a table and of its tombstones. The table is sealed, so
// it is read without its shard's lock.
func (fl *flusher) writeRuns(seg *persist.Segment, u *shards.Unflushed, follow int64) (runs []*persist.Run, err error) {
	add := func(w *persist.RunWriter) error {
		r, err := w.Finish()
		if err != nil {
			return err
		}
		m := r.Meta()
		fl.e.counts.flushedBytes.Add(uint64(m.Bytes()))
		runs = append(runs, r)
		return nil
	}
	for form := range hash.Form(hash.Forms) {
		fl.sorted = u.Sorted(form, fl.sorted[:0], fl.giveWay)
		if len(fl.sorted) == 0 {
			continue
		}
		spec := fl.runSpec(u, form, len(fl.sorted), false)
		spec.Follow = follow
		w := seg.NewRun(spec)
		for rest := fl.sorted; len(rest) > 0; {
			fl.giveWay()
			n := min(yieldEvery, len(rest))
			if form.Fixed() {
				w.AddPairs(rest[:n])
			} else {
				fl.addRecords(w, u, form, rest, n)
			}
			rest = rest[n:]
		}
		if err := add(w); err != nil {
			return nil, err
		}
	}
	for form, stones := range tombstonesByForm(u.Tombstones) {
		if len(stones) == 0 {
			continue
		}
		w := seg.NewRun(fl.runSpec(u, hash.Form(form), len(stones), true))
		for _, t := range stones {
			if t.Form.Fixed() {
				w.Add(fl.e.set.Order(t.Hi), t.Lo)
			} else {
				w.AddBytes(fl.e.set.Order(t.Hi), t.Record)
			}
		}
		if err := add(w); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// addRecords adds the records of the first n pairs to a run.
func (fl *flusher) addRecords(w *persist.RunWriter, u *shards.Unflushed, form hash.Form, pairs []shards.Pair, n int) {
	for i, p := range pairs[:n] {
		if i+recordsAhead < len(pairs) {
			u.PrefetchRecord(form, pairs[i+recordsAhead])
		}
		w.AddBytes(fl.e.set.Order(p.Hi), u.Record(form, p))
	}
}

// runSpec describes the run that a table becomes. All runs of a table have its Seq, which
// tombstones are compared with, and its MaxPos, which a snapshot's position is compared with
// (restoreFilter).
func (fl *flusher) runSpec(u *shards.Unflushed, form hash.Form, keys int, tombstones bool) persist.RunSpec {
	return persist.RunSpec{
		ID:         fl.e.store.nextID(),
		Shard:      uint16(u.Shard),
		Form:       uint8(form),
		Tombstones: tombstones,
		Zeros:      fl.e.shardBits(),
		Seq:        u.Seq,
		MaxKeys:    uint64(keys),
		MaxPos:     u.MaxPos,
	}
}

// shardBits is how many bits of a hash its shard tells. An order lacks them and has as many zeros
// at its end, which a run need not store.
func (e *Engine) shardBits() uint8 { return uint8(bits.TrailingZeros(uint(e.opts.Shards))) }

// tombstonesByForm sorts tombstones as runs want them, each once: a key may have been forgotten
// twice while its table was active.
func tombstonesByForm(stones []shards.Tombstone) (out [hash.Forms][]shards.Tombstone) {
	for _, t := range stones {
		out[t.Form] = append(out[t.Form], t)
	}
	compare := func(a, b shards.Tombstone) int {
		return cmp.Or(cmp.Compare(a.Hi, b.Hi), cmp.Compare(a.Lo, b.Lo), bytes.Compare(a.Record, b.Record))
	}
	for f := range out {
		slices.SortFunc(out[f], compare)
		out[f] = slices.CompactFunc(out[f], func(a, b shards.Tombstone) bool { return compare(a, b) == 0 })
	}
	return out
}

// segmentBytes is what a generation's runs are expected to take: its share of the capacity, with 8
// bytes per key to spare. A segment can't grow beyond it, since Badger would have to move the map
// that confirms read (docs/decisions/005): a generation that needs more gets another segment.
func (e *Engine) segmentBytes() int64 {
	return max(minSegment, int64(e.capacity.Load())/int64(e.opts.Generations-1)*(e.opts.recordBytes()+8))
}

// minSegment is the least room of a segment. What is not used of it takes no disk, and a
// generation that outgrows it needs another directory of Badger's.
const minSegment = 256 << 20
