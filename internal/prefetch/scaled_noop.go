//go:build !(amd64 || arm64) || purego

package prefetch

import "unsafe"

// Scaled does nothing on this processor or under the build tag purego. Elsewhere it prefetches,
// for each order, element high(order × n) of the n elements of 1<<shift bytes at base.
func Scaled(base unsafe.Pointer, n uint64, shift uint8, orders []uint64) {}

// Bytes does nothing either.
func Bytes(address uintptr, n int) {}

// Places does nothing either.
func Places(base unsafe.Pointer, shift uint8, places []uint32) {}
