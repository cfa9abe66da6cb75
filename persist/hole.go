package persist

import (
	"bytes"
	"os"

	"github.com/firstseen/firstseen/internal/vfs"
)

// A hole is the end of a store's newest value log, where nothing was written yet.
// Badger writes there through a map, and each page of a hole that is touched first is
// filled with zeroes as if it was read, with as many around it as the disk reads ahead,
// and gets its block alone. With zeroes written by a system call before, what a value
// takes comes in large pieces: 14 instead of 38 ns per key of 16 bytes, Badger's own work
// included. Where the system keeps a piece of hugePage bytes as one page, that is also what
// a block read at random comes from later: most of its cost is finding its page.
type hole struct {
	dir  string
	f    *os.File // the log, from the first fill on
	off  bool     // it is not filled, which costs time only
	end  int64    // Badger has written nothing from here on
	full int64    // up to here it is filled; from the first fill on at least holeGuard behind end
	sent int64    // up to here the kernel was asked to write it
}

const (
	// fillStep is what the end of the filled part is a multiple of, so that short
	// values don't each cost a system call.
	fillStep = 64 << 10
	// holeGuard is how many bytes before the end of the filled part stay zero, or
	// Badger has written more than we know of, and must not be written over.
	holeGuard = 64
)

// fill readies the next n bytes to be written, with more to follow before the next sync.
// Nobody may write meanwhile: store.putting is held. After an error nothing has changed.
//
// A whole huge page is filled where what follows will use it up before the sync, else small ones:
// a huge page that is added to after it has gone to the disk is written again as a whole.
func (h *hole) fill(n, more int64) error {
	end := h.end + n
	if end+holeGuard > h.full && h.ready() {
		full := roundUp(end+holeGuard, vfs.HugePage)
		if full > end+more {
			full = roundUp(end+holeGuard, fillStep)
		}
		if err := vfs.FillHole(h.f, h.full, full); err != nil {
			return err
		}
		h.full = full
	}
	h.end = end
	return nil
}

// ready opens the log before its first fill, and reports whether the hole may be filled.
func (h *hole) ready() bool {
	if h.off || !vfs.FillsHoles {
		return false
	}
	if h.f == nil {
		logs, err := storeFiles(h.dir, ".vlog")
		if err == nil && len(logs) > 0 {
			h.f, err = os.OpenFile(logs[len(logs)-1], os.O_RDWR, 0)
		}
		if err != nil || h.f == nil {
			h.off = true
			return false
		}
		vfs.DropCached(h.f)
	}
	if h.full == vlogHeader {
		return true // nothing was filled yet
	}
	// The guard's bytes must still be zero. Should Badger write more than entryOverhead allows
	// for, filling stops for good before it overwrites an entry.
	guard := make([]byte, holeGuard)
	_, err := h.f.ReadAt(guard, h.full-holeGuard)
	h.off = err != nil || bytes.Count(guard, []byte{0}) < holeGuard
	return !h.off
}

// send has the kernel begin to write what Badger has written since the last time, but for
// the last huge page, which would be written again.
func (h *hole) send() {
	if end := h.end / vfs.HugePage * vfs.HugePage; h.f != nil && h.sent < end {
		vfs.StartWriting(h.f, h.sent, end)
		h.sent = end
	}
}

func roundUp(n, step int64) int64 { return (n + step - 1) / step * step }

func (h *hole) close() {
	if h.f != nil {
		_ = h.f.Close() // nothing was written that anybody misses
		h.f = nil
	}
	h.off = true
}
