package bloom

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// A SnapshotWriter writes one generation of all shards to a stream: the header
// at once, a section for each WriteShard, the end marker at Close. After an
// error of the stream every call gives that error. It is for one goroutine.
type SnapshotWriter struct {
	w         io.Writer
	slotBytes int
	shards    int
	next      int    // shard that WriteShard writes
	headerSum uint32 // checksum of the header
	sums      uint32 // checksum of the sections' checksums
	closed    bool
	err       error
}

// NewSnapshotWriter writes the header h to w. Writes are few and large: w needs
// no buffer.
func NewSnapshotWriter(w io.Writer, h SnapshotHeader) (*SnapshotWriter, error) {
	if problem := h.check(); problem != "" {
		return nil, fmt.Errorf("bloom: snapshot header: %s", problem)
	}
	b := h.encode()
	if _, err := w.Write(b); err != nil {
		return nil, fmt.Errorf("bloom: write snapshot header: %w", err)
	}
	return &SnapshotWriter{
		w:         w,
		slotBytes: h.SlotBytes,
		shards:    len(h.Positions),
		headerSum: binary.LittleEndian.Uint32(b[len(b)-sumBytes:]),
	}, nil
}

// WriteShard writes the column of the next shard, from shard 0 on. The column
// must have the SlotBytes of the header.
func (s *SnapshotWriter) WriteShard(column []byte) error {
	switch {
	case s.err != nil:
		return s.err
	case s.closed || s.next == s.shards:
		return fmt.Errorf("bloom: snapshot of %d shards: one too many", s.shards)
	case len(column) != s.slotBytes:
		return fmt.Errorf("bloom: snapshot: column of %d bytes, the header promised %d", len(column), s.slotBytes)
	}
	sum := binary.LittleEndian.AppendUint32(nil, sectionSum(s.headerSum, s.next, column))
	s.write(column)
	s.write(sum)
	s.sums = crc32.Update(s.sums, castagnoli, sum)
	s.next++
	return s.err
}

// Close writes the end marker. It is an error if shards are missing; the
// snapshot is then incomplete and OpenSnapshot will say so. It does not close
// or sync the stream.
func (s *SnapshotWriter) Close() error {
	if s.closed || s.err != nil {
		return s.err
	}
	s.closed = true
	if s.next < s.shards {
		s.err = fmt.Errorf("bloom: snapshot of %d shards closed after %d", s.shards, s.next)
		return s.err
	}
	s.write(binary.LittleEndian.AppendUint32([]byte(snapshotEnd), s.sums))
	return s.err
}

func (s *SnapshotWriter) write(b []byte) {
	if s.err != nil {
		return
	}
	if _, err := s.w.Write(b); err != nil {
		s.err = fmt.Errorf("bloom: write snapshot: %w", err)
	}
}
