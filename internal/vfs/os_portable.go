//go:build !linux

package vfs

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

// PunchFile is not known elsewhere: the blocks come back when the process ends.
func PunchFile(string) error { return errors.ErrUnsupported }

// FillHole, DropCached and StartWriting are not called.
const FillsHoles = false

func FillHole(*os.File, int64, int64) error { return nil }

func DropCached(*os.File) {}

func StartWriting(*os.File, int64, int64) {}

// UnmapPages spares interrupts where it is known how.
func UnmapPages([]byte) {}

// MapPages is for mappings, and there are none.
func MapPages([]byte) bool { return false }

// AdviseRandom and AdviseNeeded are advice: without it a window that is larger than
// the page cache takes longer.
func AdviseRandom(from, to uintptr) {}

func AdviseNeeded([]byte) {}
