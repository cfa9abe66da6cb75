//go:build !amd64 || purego || race

package bloom

const lanesMax = 8

func kernelLanes(int) (lanes [lanesMax]uint64) { return lanes }

func (f *SlicedFilter) maybeKernel(masks []uint8, orders []uint64, ahead *Ahead) bool { return false }

func (f *SlicedFilter) addAbsentKernel(slot int, held, blind uint8, masks []uint8, orders []uint64, ahead *Ahead) bool {
	return false
}

func (f *SlicedFilter) addKernel(slot int, orders []uint64) bool { return false }
