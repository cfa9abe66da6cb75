package vfs

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// DiskBytes sums what the files below dir take on disk, holes left out. A file that
// is removed meanwhile counts nothing.
func DiskBytes(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			sum += allocated(info)
		}
		return err
	})
	return sum, err
}
