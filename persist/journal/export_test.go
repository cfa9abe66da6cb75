package journal

import (
	"encoding/binary"

	"github.com/firstseen/firstseen/internal/crc32c"
	"github.com/firstseen/firstseen/internal/vfs"
)

// What the journal's outside tests need of its inside.

const (
	RingStart      = ringStart
	FrameHeaderLen = frameHeaderLen
)

// PagesReady is the position up to which the ring's pages are mapped.
func (j *Journal) PagesReady() Pos { return j.pages.ready.Load() }

// MapsPages reports whether the system maps pages ahead.
func MapsPages() bool { return vfs.MapPages(make([]byte, 1)) }

// SetSyncing has the journal take a sync for being under way.
func (j *Journal) SetSyncing(on bool) { j.pages.syncing.Store(on) }

// SetPagesReady has the journal take the pages up to there for mapped.
func (j *Journal) SetPagesReady(to Pos) { j.pages.ready.Store(to) }

// BusyWhile has callers wait, while do runs, as behind one who writes, and goes the
// way of one that has written for others as often as it does.
func (j *Journal) BusyWhile(do func()) {
	j.mu.Lock()
	j.mu.writing = true
	j.mu.Unlock()
	do()
	j.mu.Lock()
	j.stopLeadingLocked()
	j.mu.Unlock()
}

// WithBoot gives c another machine run: what an earlier one handed to its
// operating system need not be there.
func (c Config) WithBoot(n byte) Config {
	c.BootID = &[16]byte{n}
	return c
}

// ReencodeHeader decodes a header copy and encodes it again.
func ReencodeHeader(b []byte) ([]byte, uint32, error) {
	h, err := decodeJournalHeader(b)
	if err != nil {
		return nil, 0, err
	}
	return h.encode(), h.salt(), nil
}

// ReencodeFrame decodes a frame header and encodes it again; nil when it is not
// whole.
func ReencodeFrame(b []byte, salt uint32) []byte {
	var h frameHeader
	if len(b) < frameHeaderLen || !h.parse(b, salt) {
		return nil
	}
	out := make([]byte, frameHeaderLen)
	h.put(out, salt)
	return out
}

// Epoch returns the epoch of frames appended now.
func (j *Journal) Epoch() uint32 { return j.head.epoch }

// Resum makes whatever stands in b a frame header with right sums, of the given
// position and the first epoch.
func Resum(b []byte, pos Pos, salt uint32) {
	binary.LittleEndian.PutUint32(b[12:], 1)
	binary.LittleEndian.PutUint64(b[16:], pos)
	if n := binary.LittleEndian.Uint32(b[4:]); uint64(n) <= uint64(len(b)-frameHeaderLen) {
		binary.LittleEndian.PutUint32(b[40:], crc32c.Sum(b[frameHeaderLen:][:n]))
	}
	binary.LittleEndian.PutUint32(b[44:], crc32c.Update(salt, b[:44]))
}
