//go:build !unix

package bench

import (
	"io/fs"
	"path/filepath"
)

// allocatedBytes sums file lengths; what they occupy isn't known here.
func allocatedBytes(dir, journal string) (data, ring int64) {
	add := func(path string, bytes int64) {
		if is, _ := filepath.Match(journal, filepath.Base(path)); is {
			ring += bytes
		} else {
			data += bytes
		}
	}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		if info, err := e.Info(); err == nil {
			add(path, info.Size())
		}
		return nil
	})
	return data, ring
}
