//go:build !amd64 || purego || race

package mem

// Clear zeroes words.
func Clear(words []uint64) { clear(words) }
