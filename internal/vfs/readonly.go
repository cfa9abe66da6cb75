package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Looking is a file system for those who only look: files that can't be opened for
// writing, since they or their medium are read-only, are opened for reading.
func Looking(fsys FS) FS { return lookingFS{fsys} }

type lookingFS struct{ FS }

func (l lookingFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := l.FS.OpenFile(name, flag, perm)
	if !IsReadOnly(err) {
		return f, err
	}
	if f, err = l.FS.OpenFile(name, os.O_RDONLY, 0); err != nil {
		return nil, err
	}
	return lookingFile{f}, nil
}

// IsReadOnly reports whether err says that a file may not be written.
func IsReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}

// lookingFile has memory in place of mappings: who looks changes nothing in them.
type lookingFile struct{ File }

// mappedMost is as much of a file as is read for a mapping: the journal's watermark is
// smaller, and nobody who looks reads the ring through one.
const mappedMost = 64 << 10

func (f lookingFile) Map(size int64) ([]byte, error) {
	m := make([]byte, size)
	if _, err := f.ReadAt(m[:min(size, mappedMost)], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return m, nil
}

func (f lookingFile) Unmap([]byte) error { return nil }
