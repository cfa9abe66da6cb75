//go:build amd64 && !purego && !race

package bloom

import (
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/firstseen/firstseen/internal/prefetch"
)

// The AVX2 kernels do what testLines, addWords and addAbsentWords do: a key takes a fifth of
// the plain code's time when the filter is cached, and half when it is not
// (BenchmarkMaybeBatch). They are left out under the race detector, which
// cannot see what they read.

var useAVX2 = cpu.X86.HasAVX2 && cpu.X86.HasBMI2

// lanesMax is the number of hashes that two vectors of four words hold.
const lanesMax = 8

//go:noescape
func maybeAVX2(next look, masks *uint8, orders *uint64, n int, words *uint64, lines uint64, lanes *[lanesMax]uint64)

//go:noescape
func addAbsentAVX2(next look, masks *uint8, orders *uint64, n int, words *uint64, lines uint64, lanes *[lanesMax]uint64, slot, held, blind uint64)

//go:noescape
func addAVX2(column *uint64, shift uint64, orders *uint64, n int, lines uint64, lanes *[lanesMax]uint64)

// A look is what a kernel prefetches beside its keys: for each of n orders a line of 64
// bytes and a row of 32.
type look struct {
	orders *uint64
	line   unsafe.Pointer
	lines  uint64
	row    unsafe.Pointer
	rows   uint64
	n      int
}

// take takes out of a queue what n keys of a kernel can prefetch beside them.
func take(q *prefetch.Queue, n int) look {
	if q == nil || len(q.Orders) == 0 {
		return look{}
	}
	f, ok := q.Filter.(*sliced)
	if !ok || f.shift != 3 {
		return look{}
	}
	n = min(n, len(q.Orders))
	l := look{&q.Orders[0], unsafe.Pointer(unsafe.SliceData(f.words)), f.lines, q.Row, q.Rows, n}
	if l.row == nil {
		l.row = l.line // no rows: one that is there anyway
	}
	q.Orders = q.Orders[n:]
	return l
}

// kernelLanes returns, for each group of bits, 0 if a key of k hashes uses it
// and 64 if not.
func kernelLanes(k int) (lanes [lanesMax]uint64) {
	for i := range lanes {
		if i >= k {
			lanes[i] = 64
		}
	}
	return lanes
}

// maybeKernel fills masks, of the length of orders, and reports whether this
// processor can, for lines of eight words. The memory needs no bounds check: mulhi(order, lines) < lines.
func (f *sliced) maybeKernel(masks []uint8, orders []uint64, beside *prefetch.Queue) bool {
	if !useAVX2 || f.hashes > lanesMax {
		return false
	}
	if len(orders) > 0 {
		maybeAVX2(take(beside, len(orders)), &masks[0], &orders[0], len(orders), unsafe.SliceData(f.words), f.lines, &f.lanes)
	}
	return true
}

// addAbsentKernel is AddAbsent for a filter in which the words of orders are clean. It
// reports whether this processor can, for lines of this width.
func (f *sliced) addAbsentKernel(slot int, held, blind uint8, masks []uint8, orders []uint64, beside *prefetch.Queue) bool {
	if !useAVX2 || f.hashes > lanesMax || f.shift != 3 {
		return false
	}
	if len(orders) > 0 {
		addAbsentAVX2(take(beside, len(orders)), &masks[0], &orders[0], len(orders), unsafe.SliceData(f.words), f.lines, &f.lanes,
			uint64(slot), uint64(held), uint64(blind))
	}
	return true
}

// addKernel adds orders to a slot in which their words are clean, and reports whether
// this processor can.
func (f *sliced) addKernel(slot int, orders []uint64) bool {
	if !useAVX2 || f.hashes > lanesMax {
		return false
	}
	if len(orders) > 0 {
		addAVX2(&f.words[slot], uint64(f.shift), &orders[0], len(orders), f.lines, &f.lanes)
	}
	return true
}
