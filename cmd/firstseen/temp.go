package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tempPrefix begins the name of a directory that lives as long as its run.
const tempPrefix = "firstseen-run-"

// A tempDir is a directory for one run. Its lock tells others that the run lives.
type tempDir struct {
	path string
	file *os.File // holds the lock
}

// engine returns where the engine's own directory lies. It is one below, since the
// engine locks its directory, too.
func (t *tempDir) engine() string { return filepath.Join(t.path, "keys") }

// makeTemp makes a directory for this run, and removes those of runs that were
// killed.
func (a *app) makeTemp() (*tempDir, error) {
	removeAbandoned(os.TempDir())
	for {
		path, err := os.MkdirTemp("", tempPrefix)
		if err != nil {
			return nil, fmt.Errorf("no temporary directory: %w; name one with --dir, or set TMPDIR", err)
		}
		// Between its making and its lock another run may take the directory for an
		// abandoned one: then there is no lock to get, or it is that of a directory
		// which is gone.
		file, err := os.Open(path)
		if err == nil && tryLock(file) && isAt(file, path) {
			a.temp.Store(&path)
			return &tempDir{path: path, file: file}, nil
		}
		if err == nil {
			_ = file.Close()
		}
	}
}

// isAt reports whether file is what lies at path.
func isAt(file *os.File, path string) bool {
	opened, err1 := file.Stat()
	there, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(opened, there)
}

// removeAbandoned removes the directories of runs that have ended without it. What
// it can't remove is the next run's.
func removeAbandoned(in string) {
	entries, err := os.ReadDir(in)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), tempPrefix) {
			continue
		}
		info, err := entry.Info()
		if err != nil || !isMine(info) {
			continue
		}
		path := filepath.Join(in, entry.Name())
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		if tryLock(file) && isAt(file, path) {
			_ = os.RemoveAll(path)
		}
		_ = file.Close()
	}
}

// remove takes the directory away while its engine still runs, which may make a
// file while others are removed.
func (t *tempDir) remove() error {
	err := removeRunning(t.path)
	_ = t.file.Close()
	return err
}

func removeRunning(dir string) (err error) {
	for range 100 {
		if err = os.RemoveAll(dir); err == nil {
			break
		}
	}
	return err
}
