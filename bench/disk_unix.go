//go:build unix

package bench

import (
	"io/fs"
	"path/filepath"
	"syscall"
)

// allocatedBytes sums the blocks that the files under dir occupy, so that holes
// don't count and preallocated space does; those of files that match journal
// apart.
func allocatedBytes(dir, journal string) (data, ring int64) {
	add := func(path string, bytes int64) {
		if is, _ := filepath.Match(journal, filepath.Base(path)); is {
			ring += bytes
		} else {
			data += bytes
		}
	}
	// A file that vanishes while we walk is simply not counted.
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				add(path, st.Blocks*512)
			}
		}
		return nil
	})
	return data, ring
}
