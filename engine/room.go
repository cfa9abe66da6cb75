package engine

import (
	"errors"
	"fmt"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/shards"
)

// checkDisk sets the flag that refuses marks while less than MinFreeDisk is free. The reserve
// is for what must still be written then: flushes of the keys that are marked already. Where the
// free space can't be told marks go on, and a flush that fails tells of the full disk.
func (e *Engine) checkDisk() {
	if e.opts.MinFreeDisk < 0 {
		return
	}
	free, err := vfs.FreeSpace(e.dir)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		e.opts.Logger.Warn("can't read the free space", "dir", e.dir, "error", err)
	default:
		e.setDiskFull(free < e.opts.MinFreeDisk)
	}
}

// setDiskFull has calls that mark refused, or let in again. The flag is for those that begin, and
// refuseWaiting for those that wait for memory, which only a flush would end. The maintenance calls it
// and the flusher: the one looks at the reserve, the other met a flush without room.
func (e *Engine) setDiskFull(full bool) {
	if e.diskFull.Swap(full) == full {
		return
	}
	if full {
		e.opts.Logger.Warn("the disk is nearly full: marks are refused", "dir", e.dir, "reserve", e.opts.MinFreeDisk)
	} else {
		e.opts.Logger.Info("there is room on the disk again", "dir", e.dir)
	}
	e.refuseWaiting()
}

// refuseWaiting has calls that wait for memory refused if failure or diskFull says so. Whoever changes
// one of the two calls it afterwards. It reads both with the lock held, so the last of several callers
// has seen every change: neither a full disk that is over nor a failure that is hidden (I7) stays.
func (e *Engine) refuseWaiting() {
	e.refusing.Lock()
	defer e.refusing.Unlock()
	switch f := e.failure.Load(); {
	case f != nil:
		e.set.Refuse(*f)
	case e.diskFull.Load():
		e.set.Refuse(e.errDiskFull())
	default:
		e.set.Refuse(nil)
	}
}

// isUnknown reports whether err, of something written, leaves open what the disk has now (I7). A full
// disk alone does not: what was there before still holds, the manifest too, and the write is tried again.
func isUnknown(err error) bool {
	return err != nil && (!errors.Is(err, dedup.ErrDiskFull) || errors.Is(err, dedup.ErrFailed))
}

// checkRoom refuses a flush that could fill the disk; flushWhenRoom tries again. The memory of the
// tables is more than their runs take. The reserve may be used up here: that is what it is for.
func (e *Engine) checkRoom(tables []*shards.Unflushed) error {
	need := int64(0)
	for _, u := range tables {
		need += int64(u.Bytes())
	}
	return e.checkFree(need)
}

// checkFree returns ErrDiskFull if less than need is free. Badger writes through sparse maps:
// where an ordinary write would return an error it dies of SIGBUS.
func (e *Engine) checkFree(need int64) error {
	need += 4 << 20 // Badger's own files
	free, err := vfs.FreeSpace(e.dir)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return nil
	case err != nil:
		return err
	case free < need:
		return fmt.Errorf("%w: %d MB are needed, %d are free at %s", dedup.ErrDiskFull, need>>20, free>>20, e.dir)
	}
	return nil
}
