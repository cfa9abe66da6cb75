package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// creatingText is what the file CREATING holds. A file of that name with another text is somebody
// else's. An engine that took it for its own would remove what lies beside it.
const creatingText = "firstseen: this directory is being made\n"

// isFile reports whether name is one of a file of ours, exactly: an opening removes what a crash has
// left of such a file (vfs.RemoveLeftovers), and no .tmp of somebody else's.
func isFile(name string) bool {
	switch name {
	case persist.LockName, persist.IdentityName, persist.ManifestName, persist.CreatingName, persist.JournalName, persist.JournalName + journal.MarkSuffix:
		return true
	}
	return persist.IsSnapshot(name)
}

// checkOurs refuses a directory that is neither empty nor one of an engine, before
// anything in it is touched: it is somebody else's. It runs without the lock, so another process
// may be creating the directory meanwhile. What it lets through is looked at again with the
// lock held (identify).
func (e *Engine) checkOurs() error {
	entries, err := e.fs.ReadDir(e.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var foreign string
	for _, entry := range entries {
		switch name := entry.Name(); name {
		case persist.IdentityName:
			_, err := persist.ReadIdentity(e.fs, e.dir)
			return err
		case persist.CreatingName:
			return e.checkCreating()
		case persist.LockName, "lost+found": // a file system of its own is empty too
		case persist.CreatingName + vfs.TmpSuffix:
		default:
			foreign = name
		}
	}
	if foreign == "" {
		return nil
	}
	if ours, err := e.remains(); err != nil || ours != "" {
		return errors.Join(err, e.errNoIdentity(ours))
	}
	return e.errForeign(foreign)
}

func (e *Engine) errNoIdentity(name string) error {
	return &dedup.CorruptError{File: filepath.Join(e.dir, persist.IdentityName), Offset: -1,
		Detail: fmt.Sprintf("the file is missing, but %s is there", name)}
}

func (e *Engine) errForeign(name string) error {
	return fmt.Errorf("%w: it holds %s and is no directory of an engine; give an empty one, or one that does not exist", dedup.ErrIncompatible, name)
}

// checkCreating refuses a file of that name which is not ours: a directory that has ours
// is made anew.
func (e *Engine) checkCreating() error {
	data, err := vfs.ReadFile(e.fs, filepath.Join(e.dir, persist.CreatingName))
	if err == nil && !bytes.Equal(data, []byte(creatingText)) {
		return e.errForeign(persist.CreatingName)
	}
	if errors.Is(err, fs.ErrNotExist) { // finished meanwhile
		return nil
	}
	return err
}
