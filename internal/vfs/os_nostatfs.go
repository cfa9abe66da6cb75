//go:build !linux && !darwin

package vfs

import (
	"errors"
	"io/fs"
)

// FreeSpace is not known on this platform: the error wraps
// errors.ErrUnsupported.
func FreeSpace(path string) (int64, error) {
	return 0, &fs.PathError{Op: "statfs", Path: path, Err: errors.ErrUnsupported}
}
