package vfs

import "io/fs"

// Unsynced is fsys for files that end with the process: nothing waits for the disk.
func Unsynced(fsys FS) FS { return unsyncedFS{fsys} }

type unsyncedFS struct{ FS }

func (u unsyncedFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := u.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

func (unsyncedFS) SyncDir(string) error { return nil }

type unsyncedFile struct{ File }

func (unsyncedFile) Sync() error { return nil }
