//go:build unix

package intents

import (
	"errors"
	"os"
	"syscall"

	"github.com/firstseen/firstseen/dedup"
)

// lockFile keeps other processes out until f is closed.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return dedup.ErrLocked
	}
	return err
}
