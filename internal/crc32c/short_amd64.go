//go:build amd64 && !purego && !race

package crc32c

import "golang.org/x/sys/cpu"

// Under the race detector, which can't see what assembly reads, hash/crc32 does all.

// long is from how many bytes on hash/crc32 works on three pieces at once and is faster.
const long = 504

var hasShort = cpu.X86.HasSSE42

//go:noescape
func short(crc uint32, b []byte) uint32
