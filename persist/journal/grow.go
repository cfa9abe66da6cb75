package journal

import (
	"fmt"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

// maxRing bounds the ring of a journal that grows: a pad that ends a lap says in 32 bits
// how far it is to the ring's end.
const maxRing = 4 << 30

func roundRing(bytes int64) uint64 {
	return (uint64(max(0, bytes)) + headerLen - 1) / headerLen * headerLen
}

// Grow grows the ring to that many bytes, rounded up to whole pages, but at most to
// Config.MaxRing; it never shrinks it. Frames can be appended meanwhile. It takes the disk's
// time, without mu (I8).
//
// From the beginning a position's offset is its remainder by the ring's full size. A lap ends
// where the file does, with a pad as long as what is missing of the full size. So a lap that
// is under way simply goes on into the new part, and no frame moves.
//
// For each piece, in this order:
//
//  1. Zeroes are written behind the file's end. A crash leaves a part of them, and the next
//     opening takes what the file has: zeroes are no frames.
//  2. They are synced, so that no later sync has to write metadata for them and no write of
//     frames can run out of disk.
//  3. allocated is raised, under mu. Only from here on can a frame get there.
//
// An error wraps dedup.ErrDiskFull where there is no room, and dedup.ErrClosed where Close
// came meanwhile. The ring then works on, as large as it is.
func (j *Journal) Grow(bytes int64) error {
	j.growing.Lock()
	defer j.growing.Unlock()
	j.mu.Lock()
	err, allocated, stop := j.usableLocked(), j.mu.allocated, j.stop
	j.mu.Unlock()
	if err != nil {
		return err
	}
	to := min(roundRing(bytes), j.size)
	if to <= allocated {
		return nil
	}
	more := func() bool {
		select {
		case <-stop:
			return false
		default:
			return true
		}
	}
	for allocated < to {
		next := min(allocated+growPiece, to)
		err := writeZeroes(j.file, ringStart+allocated, ringStart+next, more)
		if err == nil && !more() {
			err = dedup.ErrClosed
		}
		// A failed write is of zeroes only. No frame lies there, so the journal goes on.
		if err != nil {
			return fmt.Errorf("journal: growing %s: %w", j.cfg.Path, vfs.DiskFull(err))
		}
		// An error of the sync may be of frames, and then nobody else would hear of it (I7).
		if err := j.file.Sync(); err != nil {
			j.fail("growing", err)
			return j.failed.Load().err
		}
		j.mu.Lock()
		j.mu.allocated = next
		j.grantLocked()
		j.mu.Unlock()
		allocated = next
	}
	return nil
}

// growPiece is what is written at once: callers that wait for the disk wait behind it.
const growPiece = 4 << 20
