package engine

import (
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/internal/nanotime"
)

// The bounds of options. They are far from what anybody needs, and near enough that no
// sum of times or sizes overflows.
const (
	minSpan      = time.Microsecond // of one generation
	minSyncEvery = time.Millisecond
	maxSyncEvery = time.Hour
	maxCapacity  = 1 << 36
	// unknownMemory stands for the memory of a machine that does not tell: more than the
	// filters of any capacity up to maxCapacity take, so that none is refused there.
	unknownMemory = 1 << 60
	// minMemory is below what a directory of a few keys takes.
	minMemory = 16 << 20
)

// checkBounds tells bad of every number that is out of its bounds. It runs before setDefaults, so
// zero, which is the default, passes. Only Window has no default.
func (o *config) checkBounds(bad func(format string, args ...any)) {
	span := func(name string, d, least, most time.Duration) {
		if d < least || d > most {
			bad("%s is %v, it must be from %v to %v", name, d, least, most)
		}
	}
	span("Window", o.Window, 1, nanotime.MaxSpan)
	span("SyncEvery", orDefault(o.SyncEvery, minSyncEvery), minSyncEvery, maxSyncEvery)
	span("Lease", orDefault(o.Lease, 1), 1, nanotime.MaxSpan)
	if o.Capacity > maxCapacity {
		bad("Capacity is %d, it must be at most %d", o.Capacity, maxCapacity)
	}
	if o.MemoryBudget != 0 && o.MemoryBudget < minMemory && o.tableKeys == 0 { // tests have small tables
		bad("MemoryBudget is %d, it must be at least %d", o.MemoryBudget, minMemory)
	}
}

// fitMemory cuts the hint to the keys whose filters fit into the memory budget. Where
// there is none it tells bad of filters that the machine has no memory for.
func (o *Options) fitMemory(bad func(format string, args ...any)) {
	// A budget was asked for and Capacity is a hint, so the hint gives way. Without a budget the
	// hint is all there is to go by, and one that the machine can't hold is a mistake to be told.
	if o.MemoryBudget > 0 {
		o.Capacity = uint64(min(float64(o.Capacity), float64(o.MemoryBudget)/o.filterBytes(1)))
	} else if need, most := o.filterBytes(o.Capacity), machineMemory(); need > most {
		bad("Capacity is %d, its filters take %.0f MB, the machine has %.0f MB", o.Capacity, need/1e6, most/1e6)
	}
}

// filterBytes is what the filters for a capacity take: the window, one
// generation more, and the words that Sliced leaves empty in each line.
func (o *Options) filterBytes(capacity uint64) float64 {
	g := o.Generations
	words := g
	for o.Filter == bloom.Sliced && words&(words-1) != 0 {
		words++
	}
	return float64(capacity) * float64(words) / float64(g-1) * o.BitsPerKey / 8
}
