package bloom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"runtime"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/mem"
)

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
		b := bytes.Clone(good)
		b[off] = 99
		fixHeader(b)
		// Here the header must be refused: the columns are, since their
		// checksums depend on it.
		if _, err := openBytes(b); !errors.Is(err, dedup.ErrCorrupt) {
			t.Errorf("byte %d breaks a rule: error %v", off, err)
		}
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
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			if _, err := openBytes(b); err == nil {
				t.Fatal("opened")
			}
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / 100; got > 2*uint64(len(b)) {
			t.Errorf("field at %d: %d bytes allocated for a file of %d", field, got, len(b))
		}
	}
}
