package bloom

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/firstseen/firstseen/dedup"
)

// A Snapshot is one generation of all shards, read from a file. Its methods may
// be called by many goroutines.
type Snapshot struct {
	r         io.ReaderAt
	name      string
	header    SnapshotHeader
	headerSum uint32
}

// OpenSnapshot reads and verifies the header and the end marker of a snapshot of
// the given size in bytes. The columns are verified as they are read. The name
// stands in errors.
//
// Damage, a wrong size included, gives a *dedup.CorruptError; a format that is
// newer than this code gives dedup.ErrIncompatible. Nothing is allocated that
// the size does not vouch for.
func OpenSnapshot(r io.ReaderAt, size int64, name string) (*Snapshot, error) {
	s := &Snapshot{r: r, name: name}
	if size < snapshotBytes(1, 8) {
		return nil, s.corrupt(-1, "file of %d bytes is too short for a snapshot", size)
	}
	var fixed [fixedBytes]byte
	if err := s.readAt(fixed[:], 0); err != nil {
		return nil, err
	}
	h, shards, err := decodeFixed(&fixed, size, name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, headerBytes(shards))
	if err := s.readAt(b, 0); err != nil {
		return nil, err
	}
	body, sum := b[:len(b)-sumBytes], binary.LittleEndian.Uint32(b[len(b)-sumBytes:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, s.corrupt(0, "header has checksum %08x, recorded is %08x", got, sum)
	}
	h.Positions = make([]uint64, shards)
	for i := range h.Positions {
		h.Positions[i] = binary.LittleEndian.Uint64(body[fixedBytes+8*i:])
	}
	// A header with a good checksum that breaks the rules was written wrongly.
	if problem := h.check(); problem != "" {
		return nil, s.corrupt(0, "%s", problem)
	}
	s.header, s.headerSum = h, sum
	if err := s.checkEnd(size); err != nil {
		return nil, err
	}
	return s, nil
}

// checkEnd finds out, without reading the columns, that a snapshot was not finished or that its
// sections are not those that were written with this end.
func (s *Snapshot) checkEnd(size int64) error {
	var end [endBytes]byte
	at := size - int64(endBytes)
	if err := s.readAt(end[:], at); err != nil {
		return err
	}
	if string(end[:len(snapshotEnd)]) != snapshotEnd {
		return s.corrupt(at, "no end marker: the snapshot was not finished")
	}
	var sums uint32
	for shard := range s.header.Positions {
		var sum [sumBytes]byte
		if err := s.readAt(sum[:], s.section(shard)+int64(s.header.SlotBytes)); err != nil {
			return err
		}
		sums = crc32.Update(sums, castagnoli, sum[:])
	}
	if want := binary.LittleEndian.Uint32(end[len(snapshotEnd):]); sums != want {
		return s.corrupt(at, "the columns' checksums have checksum %08x, recorded is %08x", sums, want)
	}
	return nil
}

// Header returns what the snapshot holds. The slice in it must not be changed.
func (s *Snapshot) Header() SnapshotHeader { return s.header }

// ReadShard reads the column of shard i (0 to len(Positions)-1, else it panics)
// into dst, which it replaces when its capacity is less than SlotBytes, and
// returns it. A wrong checksum gives a *dedup.CorruptError and no column.
func (s *Snapshot) ReadShard(i int, dst []byte) ([]byte, error) {
	if uint(i) >= uint(len(s.header.Positions)) {
		panic(fmt.Sprintf("bloom: shard %d of a snapshot of %d", i, len(s.header.Positions)))
	}
	if cap(dst) < s.header.SlotBytes {
		dst = make([]byte, s.header.SlotBytes)
	}
	dst = dst[:s.header.SlotBytes]
	at := s.section(i)
	if err := s.readAt(dst, at); err != nil {
		return nil, err
	}
	var sum [sumBytes]byte
	if err := s.readAt(sum[:], at+int64(len(dst))); err != nil {
		return nil, err
	}
	got, want := sectionSum(s.headerSum, i, dst), binary.LittleEndian.Uint32(sum[:])
	if got != want {
		return nil, s.corrupt(at, "column of shard %d has checksum %08x, recorded is %08x", i, got, want)
	}
	return dst, nil
}

// section returns the offset of a shard's column.
func (s *Snapshot) section(shard int) int64 {
	return headerBytes(len(s.header.Positions)) + int64(shard)*(int64(s.header.SlotBytes)+sumBytes)
}

// readAt fills b. An end within it means that the file is shorter than its size
// said: damage. Other errors are the reader's.
func (s *Snapshot) readAt(b []byte, off int64) error {
	n, err := s.r.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return s.corrupt(off+int64(n), "the file ends %d bytes early", len(b)-n)
	}
	return fmt.Errorf("bloom: read %s at byte %d: %w", s.name, off, err)
}

func (s *Snapshot) corrupt(off int64, format string, args ...any) error {
	return &dedup.CorruptError{File: s.name, Offset: off, Detail: fmt.Sprintf(format, args...)}
}
