//go:build unix

package vfs

import (
	"io/fs"
	"syscall"
)

// allocated is what a file takes on disk: Badger's are sparse.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(st.Blocks) * 512
	}
	return info.Size()
}
