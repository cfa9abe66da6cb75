package main

import (
	"fmt"
	"os"
)

// askPath returns a path of a directory's socket that is short enough to be an address,
// however long the directory's is. It lasts until release.
func askPath(dir string) (path string, release func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), askName), func() { _ = d.Close() }, nil
}
