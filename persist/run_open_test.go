package persist

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// TestCheckIndex: an index that fits its values in length only.
func TestCheckIndex(t *testing.T) {
	f := func(index, starts []uint32, ok bool) {
		t.Helper()
		r := &Run{seg: &Segment{}, index: index, starts: starts}
		if err := r.checkIndex(); (err == nil) != ok {
			t.Errorf("index %v, values at %v: %v", index, starts, err)
		}
	}
	f([]uint32{0, 4}, []uint32{0, 4}, true)
	f([]uint32{0, 4, 20, 24}, []uint32{0, 20, 24}, true)
	f([]uint32{0, 4, 20, 24}, []uint32{0, 24}, true)
	f([]uint32{0, 4, 20, 24}, []uint32{0, 12, 24}, false) // a block in two values
	f([]uint32{0, 4, 20, 24}, []uint32{0, 28}, false)     // too short
	f([]uint32{0, 4, 20, 28}, []uint32{0, 24}, false)     // too long
	f([]uint32{4, 8}, []uint32{0, 8}, false)              // a gap
	f([]uint32{0, 20, 16, 24}, []uint32{0, 24}, false)    // back
	f([]uint32{0, 2, 8}, []uint32{0, 8}, false)           // no room for a checksum
}

// TestOpenRefuses: descriptions that do not fit are damage, not panics.
func TestOpenRefuses(t *testing.T) {
	d, s := makeDamaged(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f := func(what, detail string, change func(m *RunMeta)) {
		t.Helper()
		meta := SegmentMeta{ID: 1, Runs: slices.Clone(d.meta.Runs)}
		m := &meta.Runs[0]
		m.Values = slices.Clone(m.Values)
		change(m)
		var ce *dedup.CorruptError
		if s, _, err := OpenSegment(d.config(), meta); !errors.As(err, &ce) || !strings.Contains(ce.Detail, detail) {
			t.Errorf("%s: %v", what, err)
			if err == nil {
				_ = s.Close()
			}
		}
	}
	f("no blocks", "0 blocks", func(m *RunMeta) { m.Blocks = 0 })
	f("other blocks", "blocks and an index", func(m *RunMeta) { m.Blocks++ })
	f("no values", "0 values", func(m *RunMeta) { m.Values = nil })
	f("a value more", "missing", func(m *RunMeta) { m.Values = append(m.Values, ValueMeta{Bytes: 100}) })
	f("a value less", "covers", func(m *RunMeta) { m.Values = m.Values[:len(m.Values)-1] })
	f("another length", "value 1: ", func(m *RunMeta) { m.Values[1].Bytes++ })
	f("swapped lengths", "value 1: ", func(m *RunMeta) { m.Values[1].Bytes++; m.Values[2].Bytes-- })
	f("another index", "index: checksum", func(m *RunMeta) { m.Index.CRC++ })
	f("another run", "run 99, value 0: missing", func(m *RunMeta) { m.ID = 99 })
	f("too long", "more than offsets", func(m *RunMeta) { m.Values = slices.Repeat([]ValueMeta{{Bytes: 1 << 31}}, 3) })
	if _, _, err := OpenSegment(d.config(), SegmentMeta{ID: 2}); err == nil {
		t.Error("opened as another segment")
	}

	// What only shows when all of it is read.
	g := func(what string, change func(m *RunMeta)) {
		t.Helper()
		meta := SegmentMeta{ID: 1, Runs: slices.Clone(d.meta.Runs[:1])}
		m := &meta.Runs[0]
		m.Values = slices.Clone(m.Values)
		change(m)
		s, runs, err := OpenSegment(d.config(), meta)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := runs[0].Scan(func(*Block) error { return nil }); !errors.Is(err, dedup.ErrCorrupt) {
			t.Errorf("%s: scan: %v", what, err)
		}
		if err := runs[0].Verify(); !errors.Is(err, dedup.ErrCorrupt) {
			t.Errorf("%s: verify: %v", what, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	g("another sum", func(m *RunMeta) { m.Sum++ })
	g("more keys", func(m *RunMeta) { m.Keys++ })
	g("fewer keys", func(m *RunMeta) { m.Keys-- })
	g("another checksum", func(m *RunMeta) { m.Values[1].CRC++ })
}
