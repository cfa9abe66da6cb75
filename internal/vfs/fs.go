package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/firstseen/firstseen/dedup"
)

// FS is the part of a file system that this package's own files need. OS is the
// real one; tests put one behind it that fails and forgets on purpose. Badger
// can't be put behind it.
//
// Names are paths as for package os. Errors name the path and wrap the cause;
// a missing file is fs.ErrNotExist.
type FS interface {
	// OpenFile takes the flags of package os.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename replaces newName atomically: readers see the old file or the new.
	Rename(oldName, newName string) error
	Remove(name string) error
	MkdirAll(name string, perm fs.FileMode) error
	// ReadDir gives the entries sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the creations, renames and removals in a directory durable.
	SyncDir(name string) error
}

// File is one open file. All calls may be made at once but Close, which comes
// last.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes the content durable, and of the metadata what reading it back
	// needs (fdatasync). After an error the state of what was written since the
	// last Sync is not known, and a further Sync that succeeds proves nothing.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
	// Map maps the first size bytes shared and writable: stores show up in reads
	// of the file and the next Sync makes them durable. It gives nil and no error
	// where there are no such mappings.
	Map(size int64) ([]byte, error)
	// Unmap ends a mapping that Map gave.
	Unmap(m []byte) error
	Close() error
}

// TmpSuffix ends the names of files that are still being written. A file of that
// name found at opening is left over from a crash and may be removed.
const TmpSuffix = ".tmp"

// WriteFileAtomic replaces the file at path with data: whatever happens, readers
// and a later opening see the old content or the new. When it returns nil the
// new content is durable. After an error the old content is still there, except
// when only the directory's sync failed: then a reader sees the new content and
// a power cut may bring back the old.
func WriteFileAtomic(fsys FS, path string, data []byte) error {
	tmp := path + TmpSuffix
	if err := writeFileSync(fsys, tmp, data); err != nil {
		// Best effort: RemoveLeftovers takes what stays.
		_ = fsys.Remove(tmp)
		return fmt.Errorf("writing %s: %w", path, DiskFull(err))
	}
	if err := fsys.Rename(tmp, path); err != nil {
		_ = fsys.Remove(tmp)
		return fmt.Errorf("writing %s: %w", path, DiskFull(err))
	}
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func writeFileSync(fsys FS, path string, data []byte) (err error) {
	f, err := fsys.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if len(data) > 0 {
		if _, err := f.WriteAt(data, 0); err != nil {
			return err
		}
	}
	return f.Sync()
}

// ReadFile returns the whole content of a file.
func ReadFile(fsys FS, path string) ([]byte, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	// A file that shrinks between the two calls gives io.EOF, which is an error
	// here: nobody else may write in the directory.
	if n, err := f.ReadAt(data, 0); err != nil && (n != len(data) || !errors.Is(err, io.EOF)) {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return data, nil
}

// RemoveLeftovers removes what a crash within WriteFileAtomic or OpenJournal
// left in a directory, of the files that are ours by their names. Call it with the
// directory locked, before anything is written there.
func RemoveLeftovers(fsys FS, dir string, ours func(name string) bool) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), TmpSuffix)
		if e.IsDir() || !ok || !ours(name) {
			continue
		}
		if err := fsys.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// DiskFull adds dedup.ErrDiskFull to an error that means just that.
func DiskFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", dedup.ErrDiskFull, err)
	}
	return err
}
