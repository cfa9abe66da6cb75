package bloom

import (
	"errors"
	"io"
	"testing"
)

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
