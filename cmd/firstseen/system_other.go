//go:build !unix

package main

import "os"

// isClosed reports whether a standard stream can't be used.
func isClosed(f *os.File) bool {
	_, err := f.Stat()
	return err != nil
}

func tryLock(*os.File) bool { return true }

// isMine is false, so that nothing is removed that somebody may use.
func isMine(os.FileInfo) bool { return false }
