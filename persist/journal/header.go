package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/crc32c"
	"github.com/firstseen/firstseen/internal/vfs"
)

// The journal's file begins with two copies of its header, a page each, and then
// comes the ring. Layout of a copy, all numbers little endian:
//
//	   0   8  magic
//	   8   4  version
//	  12   4  epoch
//	  16   8  ring bytes
//	  24   8  start: position of the first frame ever
//	  32   8  epoch start: position of the epoch's first frame
//	  40   8  clean end: position behind the last frame, when flag 1 is set
//	  48   8  sequence: the larger one is the newer copy
//	  56   4  flags: 1 = closed cleanly
//	  60   4  what the epoch's Sync lets a power loss take, in ms rounded up:
//	          0 = nothing, 2^32-1 = no bound
//	  64  16  the journal's random identity; its first 4 bytes are the salt
//	  80  16  boot id of the machine when the epoch began, 0 = not known
//	  96   8  bytes of the ring that the file had then; version 1, where the
//	          ring does not grow: 0, all
//	4092   4  CRC32C of bytes 0 to 4091, in every version
//
// The header changes when an epoch begins and at a clean close, never between.
// Both copies are written then, one after the other was synced: a torn write
// leaves the other copy, and damage to one finds the other just as new.
const (
	journalMagic   = "1stSeenJ"
	journalVersion = 2 // of rings that can be grown; others are of version 1
	headerLen      = 4096
	ringStart      = 2 * headerLen
	headerClean    = 1
	riskNoBound    = math.MaxUint32
	noBound        = time.Duration(-1)
)

// journalHeader is a decoded copy.
type journalHeader struct {
	epoch      uint32
	ring       uint64
	allocated  uint64 // bytes of it in the file
	start      Pos
	epochStart Pos
	cleanEnd   Pos
	sequence   uint64
	clean      bool
	id         [16]byte
	boot       [16]byte
	risk       uint32
}

// putRisk and mayLose translate the header's risk.
func (h *journalHeader) putRisk(d time.Duration) {
	h.risk = riskNoBound
	if d >= 0 {
		ms := (d + time.Millisecond - 1) / time.Millisecond
		h.risk = uint32(min(ms, riskNoBound-1))
	}
}

func (h *journalHeader) mayLose() time.Duration {
	if h.risk == riskNoBound {
		return noBound
	}
	return time.Duration(h.risk) * time.Millisecond
}

// salt makes the frames of one journal invalid in every other one, and keeps
// those who choose keys from writing a payload that looks like a frame.
func (h *journalHeader) salt() uint32 { return binary.LittleEndian.Uint32(h.id[:]) }

// encode writes version 1 where the file has all of the ring: programs that know nothing of
// growth can read it.
func (h *journalHeader) encode() []byte {
	b := make([]byte, headerLen)
	copy(b, journalMagic)
	binary.LittleEndian.PutUint32(b[8:], 1)
	if h.allocated < h.ring {
		binary.LittleEndian.PutUint32(b[8:], journalVersion)
		binary.LittleEndian.PutUint64(b[96:], h.allocated)
	}
	binary.LittleEndian.PutUint32(b[12:], h.epoch)
	binary.LittleEndian.PutUint64(b[16:], h.ring)
	binary.LittleEndian.PutUint64(b[24:], h.start)
	binary.LittleEndian.PutUint64(b[32:], h.epochStart)
	binary.LittleEndian.PutUint64(b[40:], h.cleanEnd)
	binary.LittleEndian.PutUint64(b[48:], h.sequence)
	if h.clean {
		binary.LittleEndian.PutUint32(b[56:], headerClean)
	}
	binary.LittleEndian.PutUint32(b[60:], h.risk)
	copy(b[64:], h.id[:])
	copy(b[80:], h.boot[:])
	binary.LittleEndian.PutUint32(b[4092:], crc32c.Sum(b[:4092]))
	return b
}

var errHeader = errors.New("no whole copy of the header")

// decodeJournalHeader gives errHeader for damage and wraps
// dedup.ErrIncompatible for a version that is not known here. A copy with sizes that no writer
// gives it counts as damage too: everything else divides by the ring and maps it.
func decodeJournalHeader(b []byte) (journalHeader, error) {
	var h journalHeader
	if len(b) != headerLen || string(b[:8]) != journalMagic ||
		binary.LittleEndian.Uint32(b[4092:]) != crc32c.Sum(b[:4092]) {
		return h, errHeader
	}
	version := binary.LittleEndian.Uint32(b[8:])
	if version < 1 || version > journalVersion {
		return h, fmt.Errorf("%w: journal version %d, known is %d", dedup.ErrIncompatible, version, journalVersion)
	}
	h = journalHeader{
		epoch:      binary.LittleEndian.Uint32(b[12:]),
		ring:       binary.LittleEndian.Uint64(b[16:]),
		start:      binary.LittleEndian.Uint64(b[24:]),
		epochStart: binary.LittleEndian.Uint64(b[32:]),
		cleanEnd:   binary.LittleEndian.Uint64(b[40:]),
		sequence:   binary.LittleEndian.Uint64(b[48:]),
		clean:      binary.LittleEndian.Uint32(b[56:])&headerClean != 0,
		id:         [16]byte(b[64:80]),
		boot:       [16]byte(b[80:96]),
		risk:       binary.LittleEndian.Uint32(b[60:]),
	}
	if h.allocated = h.ring; version > 1 {
		h.allocated = binary.LittleEndian.Uint64(b[96:])
	}
	if h.allocated < minRing || h.allocated > h.ring || h.allocated%headerLen != 0 || h.ring > maxRing && version > 1 || h.ring%headerLen != 0 || h.start%frameAlign != 0 || h.epochStart%frameAlign != 0 {
		return h, errHeader
	}
	return h, nil
}

// readJournalHeader returns the newer whole copy, and how many were whole. A crash between
// the writes of the two leaves an old one behind a new one, or behind a torn one. Either will
// do: Replay lets no Append in, and Close does not return, before both are synced.
func readJournalHeader(f vfs.File) (journalHeader, int, error) {
	var newest journalHeader
	whole, last := 0, errHeader
	for i := int64(0); i < 2; i++ {
		b := make([]byte, headerLen)
		if n, err := f.ReadAt(b, i*headerLen); err != nil && !errors.Is(err, io.EOF) {
			return newest, 0, err
		} else if n < headerLen {
			continue
		}
		h, err := decodeJournalHeader(b)
		if err != nil {
			if !errors.Is(err, errHeader) {
				last = err
			}
			continue
		}
		if whole++; whole == 1 || h.sequence > newest.sequence {
			newest = h
		}
	}
	if whole == 0 {
		return newest, 0, last
	}
	return newest, whole, nil
}

// writeJournalHeader writes both copies, each one synced before the next. What
// was written to f before must be synced already: the header vouches for it.
func writeJournalHeader(f vfs.File, h *journalHeader) error {
	b := h.encode()
	for i := int64(0); i < 2; i++ {
		if _, err := f.WriteAt(b, i*headerLen); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// createJournal makes the file: zeroes are written over what there is of the ring, so that
// no later sync has to write metadata for it and no write can run out of disk. A new journal
// counts as closed cleanly at its start, so the first Replay looks for no frame.
//
// The file gets its name last, after the syncs of its header, which cover the zeroes too. So
// a journal that is there is whole.
func createJournal(fsys vfs.FS, path string, ring, allocated uint64, start Pos) error {
	h := journalHeader{ring: ring, allocated: allocated, start: start, epochStart: start, clean: true, cleanEnd: start, sequence: 1}
	if _, err := rand.Read(h.id[:]); err != nil {
		return err
	}
	tmp := path + vfs.TmpSuffix
	if err := writeEmptyJournal(fsys, tmp, &h); err != nil {
		_ = fsys.Remove(tmp) // RemoveLeftovers takes what stays.
		return vfs.DiskFull(err)
	}
	if err := fsys.Rename(tmp, path); err != nil {
		return vfs.DiskFull(err)
	}
	return fsys.SyncDir(filepath.Dir(path))
}

func writeEmptyJournal(fsys vfs.FS, path string, h *journalHeader) (err error) {
	f, err := fsys.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if err := writeZeroes(f, ringStart, ringStart+h.allocated, func() bool { return true }); err != nil {
		return err
	}
	return writeJournalHeader(f, h)
}

// writeZeroes fills a file from off to end, while more says so.
//
// The page cache keeps the ring in the pieces that it was written in. With aligned
// ones of 64 KiB a call of 17 KB that overwrites it takes 4.1 µs, with pieces of 1
// MiB 5.3, with pages 6.6.
func writeZeroes(f vfs.File, off, end uint64, more func() bool) error {
	const piece = 64 << 10
	zeroes := make([]byte, piece)
	for off < end && more() {
		n := min(piece-off%piece, end-off)
		if _, err := f.WriteAt(zeroes[:n], int64(off)); err != nil {
			return err
		}
		off += n
	}
	return nil
}
