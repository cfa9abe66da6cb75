// Package vfs is the file system as the engine's own files use it: an interface
// small enough that tests put one behind it that fails or forgets on purpose, and
// the hints that Linux takes about mapped files. Elsewhere the hints do nothing.
package vfs
