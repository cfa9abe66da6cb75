package journal_test

import (
	"io"
	"io/fs"
	"os"

	"github.com/firstseen/firstseen/internal/vfs"
)

// mappedFS is a file system in memory whose files can be mapped, for the tests
// that damage what a kill leaves behind. Nothing fails in it and syncs do
// nothing. It has no directories, and a file keeps its memory once it is mapped.
type mappedFS map[string]*mappedFile

type mappedFile struct{ data []byte }

func (m mappedFS) OpenFile(name string, flag int, _ fs.FileMode) (vfs.File, error) {
	f := m[name]
	switch {
	case f == nil && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case f == nil:
		f = &mappedFile{}
		m[name] = f
	case flag&os.O_TRUNC != 0:
		f.data = nil
	}
	return f, nil
}

func (m mappedFS) Rename(oldName, newName string) error {
	m[newName] = m[oldName]
	delete(m, oldName)
	return nil
}

func (m mappedFS) Remove(name string) error            { delete(m, name); return nil }
func (mappedFS) MkdirAll(string, fs.FileMode) error    { return nil }
func (mappedFS) ReadDir(string) ([]fs.DirEntry, error) { return nil, fs.ErrInvalid }
func (mappedFS) Stat(string) (fs.FileInfo, error)      { return nil, fs.ErrInvalid }
func (mappedFS) SyncDir(string) error                  { return nil }
func (f *mappedFile) Sync() error                      { return nil }
func (f *mappedFile) Truncate(int64) error             { return fs.ErrInvalid }
func (f *mappedFile) Size() (int64, error)             { return int64(len(f.data)), nil }
func (f *mappedFile) Map(size int64) ([]byte, error)   { return f.data[:size], nil }
func (f *mappedFile) Unmap([]byte) error               { return nil }
func (f *mappedFile) Close() error                     { return nil }

func (f *mappedFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	if n := copy(p, f.data[off:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

func (f *mappedFile) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(f.data) {
		f.data = append(f.data, make([]byte, end-len(f.data))...)
	}
	return copy(f.data[off:], p), nil
}
