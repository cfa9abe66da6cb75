package main

import "golang.org/x/sys/unix"

// diskSize returns the size in bytes of the file system that dir is on, 0 when it
// can't be had.
func diskSize(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return int64(st.Blocks) * st.Bsize
}
