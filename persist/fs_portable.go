//go:build !linux

package persist

import (
	"errors"
	"os"
)

// Sync is fsync; package os makes it F_FULLFSYNC where fsync alone promises
// nothing.
func (o *osFile) Sync() error { return o.f.Sync() }

// Map gives nothing: the journal then writes with system calls alone and keeps
// no watermark, so that it can tell less damage from an unfinished write.
func (o *osFile) Map(int64) ([]byte, error) { return nil, nil }

func (o *osFile) Unmap([]byte) error { return nil }

// punchFile is not known elsewhere: the blocks come back when the process ends.
func punchFile(string) error { return errors.ErrUnsupported }

// fillHole, dropCached and startWriting are not called.
const fillsHoles = false

func fillHole(*os.File, int64, int64) error { return nil }

func dropCached(*os.File) {}

func startWriting(*os.File, int64, int64) {}

// unmapPages spares interrupts where it is known how.
func unmapPages([]byte) {}

// mapPages is for mappings, and there are none.
func mapPages([]byte) bool { return false }

// adviseRandom and adviseNeeded are advice: without it a window that is larger than
// the page cache takes longer.
func adviseRandom(from, to uintptr) {}

func adviseNeeded([]byte) {}
