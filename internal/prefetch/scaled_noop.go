//go:build !(amd64 || arm64) || purego

package prefetch

import "unsafe"

// Scaled does nothing on this processor or under the build tag purego. Where it
// does something it announces a read of element high(order × n), 1<<shift
// bytes long, of the n elements at base, for each order.
func Scaled(base unsafe.Pointer, n uint64, shift uint8, orders []uint64) {}

// Bytes does nothing either.
func Bytes(address uintptr, n int) {}

// Places does nothing either.
func Places(base unsafe.Pointer, shift uint8, places []uint32) {}
