//go:build !amd64 || purego || race

package crc32c

const (
	long     = 0
	hasShort = false
)

func short(crc uint32, _ []byte) uint32 { return crc }
