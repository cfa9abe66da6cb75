package persist

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

// A DirLock says that this process and nobody else has the directory open. It
// ends with Unlock or with the process, however that ends.
type DirLock struct {
	path     string
	readOnly bool
	mu       struct {
		sync.Mutex
		file *os.File // nil once unlocked
		dir  *os.File // the directory itself, nil where it can't be locked
	}
}

// LockDir locks the existing directory dir. It fails within
// some 20 ms with dedup.ErrLocked when the directory is in use, by this process or another.
func LockDir(dir string) (*DirLock, error) {
	path := filepath.Join(dir, LockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if vfs.IsReadOnly(err) { // to look at; who writes is refused by what it writes next
		f, err = lockSelf(dir)
		if errors.Is(err, errLockHeld) {
			err = dedup.ErrLocked
		}
		if err == nil {
			l := &DirLock{path: path, readOnly: true}
			l.mu.file = f
			return l, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("persist: locking: %w", err)
	}
	if err := lockPatiently(f); err != nil {
		if errors.Is(err, errLockHeld) {
			err = dedup.ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("persist: locking %s: %w", path, err), f.Close())
	}
	l := &DirLock{path: path}
	l.mu.file = f
	// The file can be deleted, and another one of its name locked. The directory can't. Where
	// its file system has no locks for directories, the file alone has to do.
	if l.mu.dir, err = lockSelf(dir); errors.Is(err, errLockHeld) {
		return nil, errors.Join(fmt.Errorf("persist: locking %s: %w", dir, dedup.ErrLocked), l.Unlock())
	}
	return l, nil
}

// ReadOnly reports whether nothing can be written in the directory.
func (l *DirLock) ReadOnly() bool { return l.readOnly }

// lockSelf locks the directory itself. An error other than errLockHeld says that its file
// system can't.
func lockSelf(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := lockPatiently(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lockPatiently tries again for a moment: a process that this one is just starting holds
// copies of all locks between its fork and its exec, also of those given back meanwhile.
func lockPatiently(f *os.File) error {
	for try := 0; ; try++ {
		err := lockFile(f)
		if !errors.Is(err, errLockHeld) || try == 20 {
			return err
		}
		<-time.After(time.Millisecond)
	}
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
	if l.mu.dir != nil {
		err = errors.Join(err, l.mu.dir.Close())
	}
	l.mu.file, l.mu.dir = nil, nil
	if err != nil {
		return fmt.Errorf("persist: unlocking %s: %w", l.path, err)
	}
	return nil
}

var errLockHeld = errors.New("held")
