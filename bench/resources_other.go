//go:build !linux

package bench

import "runtime"

// ownMemory knows only what Go took from the system.
func ownMemory() memory {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return memory{anonymous: int64(s.Sys - s.HeapReleased)}
}

// ProcessMemory is not known on this system.
func ProcessMemory(int) int64 { return 0 }
