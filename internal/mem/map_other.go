//go:build !linux || purego

package mem

// mapWords maps nothing here: Alloc takes the heap. The memory limit of the
// runtime and its collector then count the region.
func mapWords(bytes int) ([]uint64, error) { return nil, nil }

func unmapWords(words []uint64) {}

func touchWords(words []uint64) {}
