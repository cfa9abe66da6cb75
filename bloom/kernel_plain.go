//go:build !amd64 || purego || race

package bloom

import "github.com/firstseen/firstseen/internal/prefetch"

// Here there are no kernels: each says that it can't, and the plain loops of sliced_batch.go do
// the work. The race detector gets those, since it does not see what assembly reads and writes.

const lanesMax = 8

func kernelLanes(int) (lanes [lanesMax]uint64) { return lanes }

func (f *sliced) maybeKernel(masks []uint8, orders []uint64, beside *prefetch.Queue) bool {
	return false
}

func (f *sliced) addAbsentKernel(slot int, held, blind uint8, masks []uint8, orders []uint64, beside *prefetch.Queue) bool {
	return false
}

func (f *sliced) addKernel(slot int, orders []uint64) bool { return false }
