//go:build linux || darwin

package vfs

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// FreeSpace returns the bytes that an unprivileged process can still write on
// the file system that holds path.
func FreeSpace(path string) (int64, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(path, &st)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
		}
		return int64(st.Bavail) * int64(st.Bsize), nil
	}
}
