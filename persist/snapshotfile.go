package persist

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/firstseen/firstseen/internal/vfs"
)

// Filter snapshots: one file per generation, whose content is the filter's own
// affair. This file knows their names and how to write them so that a crash
// leaves the old one, the new one or none, never half of one under its name.

// SnapshotPath is where the snapshot of generation gen is kept in dir.
func SnapshotPath(dir string, gen uint64) string {
	return numberedPath(dir, snapshotPrefix, gen, snapshotSuffix)
}

// ListSnapshots returns the generations of dir that have a snapshot, ascending.
func ListSnapshots(fsys vfs.FS, dir string) ([]uint64, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("persist: listing snapshots: %w", err)
	}
	gens := numbered(entries, snapshotPrefix, snapshotSuffix, false)
	slices.Sort(gens)
	return gens, nil
}

// RemoveSnapshot removes the snapshot of generation gen; there need not be one.
// The removal is not synced: a snapshot that a power loss brings back belongs to
// no generation of the manifest, and is removed again.
func RemoveSnapshot(fsys vfs.FS, dir string, gen uint64) error {
	err := fsys.Remove(SnapshotPath(dir, gen))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("persist: removing snapshot: %w", err)
	}
	return nil
}

// OpenSnapshotFile opens the snapshot of generation gen for reading. The error
// wraps fs.ErrNotExist when there is none.
func OpenSnapshotFile(fsys vfs.FS, dir string, gen uint64) (vfs.File, error) {
	f, err := fsys.OpenFile(SnapshotPath(dir, gen), os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("persist: opening snapshot: %w", err)
	}
	return f, nil
}

// WriteSnapshot writes the snapshot of generation gen: write gives the content
// to a buffered writer. Readers see the old file or the whole new one; when
// WriteSnapshot returns nil it is durable.
//
//  1. The content goes to a file of another name. write also has to make durable what the
//     content rests on, which is the journal, since the name comes right after.
//  2. That file is synced, so that the name never stands for a part of it.
//  3. It takes the name, and the directory is synced. Only after that may a manifest promise it.
func WriteSnapshot(fsys vfs.FS, dir string, gen uint64, write func(io.Writer) error) (err error) {
	path := SnapshotPath(dir, gen)
	tmp := path + vfs.TmpSuffix
	defer func() {
		if err != nil {
			_ = fsys.Remove(tmp) // a leftover is removed at the next open
			err = fmt.Errorf("persist: writing snapshot %s: %w", path, vfs.DiskFull(err))
		}
	}()
	f, err := fsys.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(io.NewOffsetWriter(f, 0), 256<<10)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := fsys.Rename(tmp, path); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}
