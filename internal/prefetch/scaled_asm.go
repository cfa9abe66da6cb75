//go:build (amd64 || arm64) && !purego

package prefetch

import "unsafe"

// Scaled prefetches one element per order. An element is
// 1<<shift bytes long (5: a 32-byte table row, 6: a 64-byte filter line) and
// base is the first of n; the element of an order is the high word of the
// 128-bit product order × n, the place that bits.Mul64 gives in the plain code.
//
// An element that straddles a cache line is prefetched by its first byte only.
//
//go:noescape
func Scaled(base unsafe.Pointer, n uint64, shift uint8, orders []uint64)

// Bytes prefetches n bytes at an address, which may be anything: a
// stale one costs time only.
//
//go:noescape
func Bytes(address uintptr, n int)

// Places prefetches the elements of 1<<shift bytes at places behind base.
//
//go:noescape
func Places(base unsafe.Pointer, shift uint8, places []uint32)
