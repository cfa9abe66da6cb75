//go:build !unix

package persist

import (
	"errors"
	"os"
)

// lockFile refuses: without a lock two engines could destroy a directory.
func lockFile(*os.File) error { return errors.ErrUnsupported }
