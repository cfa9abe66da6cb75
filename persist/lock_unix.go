//go:build unix

package persist

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes an exclusive flock, which belongs to the open file and not to
// the process: a second opener in the same process is refused too (fcntl locks
// would let it pass).
func lockFile(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errLockHeld
		default:
			return err
		}
	}
}
