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

// Grow makes the ring have that many bytes, rounded up to whole pages, as far as it can
// be grown; it never shrinks. Frames go on to be appended meanwhile. What is new is written
// and synced before the log gets there, so it takes the disk's time, and room on it.
//
// The positions of the log turn round at the ring's full size from the beginning. A lap ends
// where the file does, with a pad as long as what is missing. So a lap that is under way
// just goes on into what is new, and nothing that lies in the ring moves.
//
// An error wraps dedup.ErrDiskFull where there is no room; the ring is as large as before
// then, and works. dedup.ErrClosed: Close came meanwhile.
func (j *Journal) Grow(bytes int64) error {
	j.growing.Lock()
	defer j.growing.Unlock()
	j.mu.Lock()
	err, there, stop := j.usableLocked(), j.mu.there, j.stop
	j.mu.Unlock()
	if err != nil {
		return err
	}
	to := min(roundRing(bytes), j.size)
	if to <= there {
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
	for there < to {
		next := min(there+growPiece, to)
		err := writeZeroes(j.file, ringStart+there, ringStart+next, more)
		if err == nil && !more() {
			err = dedup.ErrClosed
		}
		if err != nil {
			return fmt.Errorf("journal: growing %s: %w", j.cfg.Path, vfs.DiskFull(err))
		}
		// An error of the sync may be of frames, and then nobody else would hear of it (I7).
		if err := j.file.Sync(); err != nil {
			j.fail("growing", err)
			return j.failed.Load().err
		}
		j.mu.Lock()
		j.mu.there = next
		j.grantLocked()
		j.mu.Unlock()
		there = next
	}
	return nil
}

// growPiece is what is written at once: callers that wait for the disk wait behind it.
const growPiece = 4 << 20
