package bloom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/mem"
)

var update = flag.Bool("update", false, "write the golden files anew")

// takeSnapshot writes slot 1 of filters that hold what keysOf gives, and returns
// the bytes and the header.
func takeSnapshot(t testing.TB, kind Kind, c Config, shards int, keysOf func(shard int) []uint64) ([]byte, SnapshotHeader) {
	t.Helper()
	filters := make([]Filter, shards)
	h := SnapshotHeader{Kind: kind, Generations: c.Generations, Generation: 4711, Start: 1_700_000_000_000_000_000, End: 1_700_000_360_000_000_000}
	for shard := range filters {
		f := open(t, kind, c)
		keys := keysOf(shard)
		f.AddBatch(1, keys)
		h.Keys += uint64(len(keys))
		h.Positions = append(h.Positions, uint64(shard)*1000+7)
		h.SlotBytes, h.Hashes = f.SlotBytes(), f.Hashes()
		filters[shard] = f
	}
	var b bytes.Buffer
	w, err := NewSnapshotWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	column := make([]byte, h.SlotBytes)
	for _, f := range filters {
		f.ReadSlot(1, 0, column)
		if err := w.WriteShard(column); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), h
}

// goldenKeys are the keys of the golden files.
func goldenKeys(shard int) []uint64 {
	rng := rand.New(rand.NewPCG(42, uint64(shard)))
	keys := []uint64{0, math.MaxUint64}
	for range 30 {
		keys = append(keys, rng.Uint64()<<1)
	}
	return keys
}

func goldenSnapshot(t testing.TB, kind Kind) ([]byte, SnapshotHeader) {
	return takeSnapshot(t, kind, Config{Keys: 100, BitsPerKey: 24, Generations: 8, Hashes: 5}, 2, goldenKeys)
}

func openBytes(b []byte) (*Snapshot, error) {
	return OpenSnapshot(bytes.NewReader(b), int64(len(b)), "test.snap")
}

// readAll opens a snapshot and reads all of it.
func readAll(b []byte) (*Columns, error) {
	s, err := openBytes(b)
	if err != nil {
		return nil, err
	}
	return s.Load()
}

func TestSnapshotRoundTrip(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind, generations int) {
		const shards = 3
		rng := rand.New(rand.NewPCG(4, 4))
		keys := make([][]uint64, shards)
		for shard := range keys {
			for range 2000 + shard {
				keys[shard] = append(keys[shard], rng.Uint64()<<2)
			}
		}
		c := Config{Keys: uint64(2000 * generations), BitsPerKey: 16, Generations: generations}
		b, h := takeSnapshot(t, kind, c, shards, func(shard int) []uint64 { return keys[shard] })
		s, err := openBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(s.Header(), h) {
			t.Fatalf("header %+v, written %+v", s.Header(), h)
		}
		before := mem.InUse()
		columns, err := s.Load()
		if err != nil {
			t.Fatal(err)
		}
		column := make([]byte, 0, h.SlotBytes)
		absent, found := 0, 0
		for shard := range shards {
			f := open(t, kind, c)
			into, err := s.ReadShard(shard, column)
			if err != nil || &into[0] != &column[:1][0] {
				t.Fatalf("ReadShard: %v, or it did not use the given buffer", err)
			}
			f.MergeSlot(0, 0, into)
			for _, order := range keys[shard] {
				if !columns.Maybe(shard, order) || f.Maybe(order) != 1 {
					t.Fatalf("shard %d misses %#x", shard, order)
				}
			}
			for range 20_000 {
				order := rng.Uint64()
				maybe := f.Maybe(order) == 1
				if columns.Maybe(shard, order) != maybe {
					t.Fatalf("columns and filter differ on %#x", order)
				}
				absent++
				found += int(one(maybe))
			}
		}
		rate := float64(found) / float64(absent)
		if want := columns.Rate(); math.Abs(rate-want) > 5*math.Sqrt(want/float64(absent))+0.02*want {
			t.Errorf("rate %v, Rate() is %v", rate, want)
		}
		if columns.Bytes() != int64(shards*h.SlotBytes) {
			t.Errorf("Bytes is %d", columns.Bytes())
		}
		columns.Close()
		_ = before
	})
}

// TestSnapshotGolden pins the format and the places that keys have in it.
func TestSnapshotGolden(t *testing.T) {
	for _, kind := range []Kind{Sliced, Compact} {
		path := filepath.Join("testdata", fmt.Sprintf("snapshot-v1-%v.golden", kind))
		b, _ := goldenSnapshot(t, kind)
		if *update {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, golden) {
			t.Errorf("%s: the same keys are written as other bytes now", path)
		}
		columns, err := readAll(golden)
		if err != nil {
			t.Fatal(err)
		}
		for shard := range 2 {
			for _, order := range goldenKeys(shard) {
				if !columns.Maybe(shard, order) {
					t.Errorf("%s: shard %d misses %#x", path, shard, order)
				}
			}
		}
		columns.Close()
	}
}

// TestEveryFlippedBitIsNoticed: no single wrong bit of a snapshot passes.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	for _, kind := range []Kind{Sliced, Compact} {
		b, _ := goldenSnapshot(t, kind)
		inUse := mem.InUse()
		for bit := range len(b) * 8 {
			b[bit/8] ^= 1 << (bit % 8)
			columns, err := readAll(b)
			var corrupt *dedup.CorruptError
			switch inVersion := bit/8 >= 8 && bit/8 < 12; {
			case err == nil:
				columns.Close()
				t.Fatalf("%v: bit %d of byte %d flipped, no error", kind, bit%8, bit/8)
			case inVersion && errors.Is(err, dedup.ErrIncompatible):
			case !errors.As(err, &corrupt) || corrupt.File != "test.snap" || !errors.Is(err, dedup.ErrCorrupt):
				t.Fatalf("%v: byte %d: error %v names no damage", kind, bit/8, err)
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
		if after := mem.InUse(); after != inUse {
			t.Errorf("%d bytes of failed loads were kept", after-inUse)
		}
	}
}

func TestSnapshotDamage(t *testing.T) {
	good, h := goldenSnapshot(t, Sliced)
	section := int(headerBytes(2))
	f := func(name string, want error, edit func(b []byte) []byte) {
		t.Helper()
		columns, err := readAll(edit(bytes.Clone(good)))
		if err == nil {
			columns.Close()
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", name, err, want)
		}
	}
	f("whole", nil, func(b []byte) []byte { return b })
	f("empty", dedup.ErrCorrupt, func(b []byte) []byte { return nil })
	for cut := 1; cut < len(good); cut++ {
		f(fmt.Sprintf("%d bytes short", cut), dedup.ErrCorrupt, func(b []byte) []byte { return b[:len(b)-cut] })
	}
	f("one byte longer", dedup.ErrCorrupt, func(b []byte) []byte { return append(b, 0) })
	f("newer", dedup.ErrIncompatible, func(b []byte) []byte { b[8] = 2; return b })
	f("version 0", dedup.ErrCorrupt, func(b []byte) []byte { b[8] = 0; return b })
	f("sections exchanged", dedup.ErrCorrupt, func(b []byte) []byte {
		one, two := b[section:section+h.SlotBytes+4], b[section+h.SlotBytes+4:][:h.SlotBytes+4]
		kept := bytes.Clone(one)
		copy(one, two)
		copy(two, kept)
		fixEnd(b, h)
		return b
	})
	f("another snapshot's section", dedup.ErrCorrupt, func(b []byte) []byte {
		binary.LittleEndian.PutUint64(b[32:], 4712) // another generation, sound header
		fixHeader(b)
		return b
	})
	f("huge sizes that overflow", dedup.ErrCorrupt, func(b []byte) []byte {
		binary.LittleEndian.PutUint64(b[24:], 1<<63+8)
		fixHeader(b)
		return b
	})
	for _, off := range []int{12, 13, 14} {
		f(fmt.Sprintf("byte %d breaks a rule", off), dedup.ErrCorrupt, func(b []byte) []byte {
			b[off] = 99
			fixHeader(b)
			return b
		})
	}
	f("not finished", dedup.ErrCorrupt, func(b []byte) []byte {
		clear(b[len(b)-endBytes:])
		return b
	})
}

// fixHeader and fixEnd repair checksums, so that a test reaches what lies behind.
func fixHeader(b []byte) {
	sum := crc32.Checksum(b[:headerBytes(2)-sumBytes], castagnoli)
	binary.LittleEndian.PutUint32(b[headerBytes(2)-sumBytes:], sum)
}

func fixEnd(b []byte, h SnapshotHeader) {
	var sums uint32
	for shard := range h.Positions {
		at := int(headerBytes(len(h.Positions))) + (shard+1)*(h.SlotBytes+sumBytes) - sumBytes
		sums = crc32.Update(sums, castagnoli, b[at:at+sumBytes])
	}
	binary.LittleEndian.PutUint32(b[len(b)-sumBytes:], sums)
}

func TestSnapshotReadError(t *testing.T) {
	b, _ := goldenSnapshot(t, Compact)
	broken := errors.New("cable cut")
	for n := 0; ; n++ {
		r := &failingReader{r: bytes.NewReader(b), left: n, err: broken}
		s, err := OpenSnapshot(r, int64(len(b)), "x")
		if err == nil {
			_, err = s.ReadShard(1, nil)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, broken) || errors.Is(err, dedup.ErrCorrupt) {
			t.Fatalf("read %d fails: error %v", n, err)
		}
	}
}

type failingReader struct {
	r    io.ReaderAt
	left int
	err  error
}

func (f *failingReader) ReadAt(b []byte, off int64) (int, error) {
	if f.left == 0 {
		return 0, f.err
	}
	f.left--
	return f.r.ReadAt(b, off)
}

func TestSnapshotWriterErrors(t *testing.T) {
	h := SnapshotHeader{Kind: Compact, Hashes: 3, Generations: 8, SlotBytes: 16, Positions: make([]uint64, 2)}
	bad := func(edit func(h *SnapshotHeader)) {
		t.Helper()
		h := h
		edit(&h)
		if _, err := NewSnapshotWriter(io.Discard, h); err == nil {
			t.Errorf("header %+v was taken", h)
		}
	}
	bad(func(h *SnapshotHeader) { h.Kind = 2 })
	bad(func(h *SnapshotHeader) { h.Hashes = 33 })
	bad(func(h *SnapshotHeader) { h.Generations = 1 })
	bad(func(h *SnapshotHeader) { h.SlotBytes = 12 })
	bad(func(h *SnapshotHeader) { h.SlotBytes = 0 })
	bad(func(h *SnapshotHeader) { h.Positions = nil })

	w, err := NewSnapshotWriter(io.Discard, h)
	if err != nil {
		t.Fatal(err)
	}
	if w.WriteShard(make([]byte, 8)) == nil {
		t.Error("a short column was taken")
	}
	for range 2 {
		if err := w.WriteShard(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
	}
	if w.WriteShard(make([]byte, 16)) == nil {
		t.Error("a third shard of two was taken")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w, _ = NewSnapshotWriter(io.Discard, h)
	if w.Close() == nil {
		t.Error("Close of a snapshot without its shards gave no error")
	}

	full := errors.New("disk full")
	for room := 0; ; room++ {
		err := writeTo(&limitedWriter{room: room, err: full}, h)
		if err == nil {
			break
		}
		if !errors.Is(err, full) {
			t.Fatalf("write %d fails: error %v", room, err)
		}
	}
}

func writeTo(w io.Writer, h SnapshotHeader) error {
	s, err := NewSnapshotWriter(w, h)
	if err != nil {
		return err
	}
	for range h.Positions {
		_ = s.WriteShard(make([]byte, h.SlotBytes)) // Close must repeat the error
	}
	return s.Close()
}

type limitedWriter struct {
	room int
	err  error
}

func (l *limitedWriter) Write(b []byte) (int, error) {
	if l.room == 0 {
		return 0, l.err
	}
	l.room--
	return len(b), nil
}

func FuzzOpenSnapshot(f *testing.F) {
	for _, kind := range []Kind{Sliced, Compact} {
		b, _ := goldenSnapshot(f, kind)
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= int(headerBytes(2)) {
			fixHeader(b) // else no input gets beyond the checksum
		}
		s, err := openBytes(b)
		if err != nil {
			if !errors.Is(err, dedup.ErrCorrupt) && !errors.Is(err, dedup.ErrIncompatible) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		h := s.Header()
		if promised := h.SlotBytes * len(h.Positions); promised > len(b) {
			t.Fatalf("%d bytes promise %d", len(b), promised)
		}
		columns, err := s.Load()
		if err != nil {
			if !errors.Is(err, dedup.ErrCorrupt) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		columns.Maybe(len(h.Positions)-1, math.MaxUint64)
		columns.Close()
	})
}

// TestOpenSnapshotAllocatesLittle: whatever the header says, no more is
// allocated than the file has bytes, plus a little.
func TestOpenSnapshotAllocatesLittle(t *testing.T) {
	good, _ := goldenSnapshot(t, Sliced)
	for _, field := range []int{16, 24} {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[field:], 1<<16)
		fixHeader(b)
		result := testing.Benchmark(func(b2 *testing.B) {
			b2.ReportAllocs()
			for range b2.N {
				if _, err := openBytes(b); err == nil {
					b2.Fatal("opened")
				}
			}
		})
		if got := result.AllocedBytesPerOp(); got > int64(len(b)) {
			t.Errorf("field at %d: %d bytes allocated for a file of %d", field, got, len(b))
		}
	}
}
