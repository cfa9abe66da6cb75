package persist

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/firstseen/firstseen/dedup"
)

// A DirLock says that this process and nobody else has the directory open. It
// ends with Unlock or with the process, however that ends.
type DirLock struct {
	path string
	mu   struct {
		sync.Mutex
		file *os.File // nil once unlocked
	}
}

// LockDir locks the existing directory dir. It fails at once with
// dedup.ErrLocked when the directory is in use, by this process or another.
func LockDir(dir string) (*DirLock, error) {
	path := filepath.Join(dir, LockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("persist: locking: %w", err)
	}
	if err := lockFile(f); err != nil {
		if errors.Is(err, errLockHeld) {
			err = dedup.ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("persist: locking %s: %w", path, err), f.Close())
	}
	l := &DirLock{path: path}
	l.mu.file = f
	return l, nil
}

// Unlock gives the directory back. The file stays: removing it would let two
// openers lock two files of the same name.
func (l *DirLock) Unlock() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.file == nil {
		return nil
	}
	err := l.mu.file.Close() // closing ends the flock
	l.mu.file = nil
	if err != nil {
		return fmt.Errorf("persist: unlocking %s: %w", l.path, err)
	}
	return nil
}

var errLockHeld = errors.New("held")
