package bloom

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"unsafe"

	bitsandblooms "github.com/bits-and-blooms/bloom/v3"

	"github.com/firstseen/firstseen/internal/mem"
	"github.com/firstseen/firstseen/internal/prefetch"
)

// A compact is a ring of bits-and-blooms filters, one per generation, over
// memory outside the collector's heap. It sets and tests bits of their sets at
// places of its own, since its keys are hashes already: hashing them again
// would cost more than all the rest.
//
// An absent key takes about two cache misses per generation, a present one as
// many as it has hashes.
//
// See [Filter] for who may call what at once.
type compact struct {
	ring     []*bitsandblooms.BloomFilter
	words    []uint64 // of all slots, one after the other
	slotSize uint64   // words of a slot
	bits     uint64   // bits of a slot
	hashes   int
	sweep    sweep
	region   *mem.Region
}

var _ Filter = (*compact)(nil)

// unitWords is the size of what is cleared as one: a cache line.
const unitWords = 8

// compactWords returns the number of words of a slot for a configuration, whole
// cache lines.
func compactWords(c Config) uint64 {
	units := math.Ceil(float64(c.Keys) * c.BitsPerKey / float64(64*unitWords*c.Generations))
	return max(uint64(units), 2) * unitWords
}

func newCompact(c Config) (*compact, error) {
	size := compactWords(c)
	region, err := mem.Alloc(int(size) * 8 * c.Generations)
	if err != nil {
		return nil, fmt.Errorf("bloom: %w", err)
	}
	f := &compact{
		ring:     make([]*bitsandblooms.BloomFilter, c.Generations),
		words:    region.Uint64s(),
		slotSize: size,
		bits:     size * 64,
		hashes:   c.Hashes,
		region:   region,
	}
	for slot := range f.ring {
		f.ring[slot] = bitsandblooms.FromWithM(f.column(slot), uint(f.bits), uint(c.Hashes))
	}
	f.sweep.init(size / unitWords)
	return f, nil
}

// column returns the words of a slot.
func (f *compact) column(slot int) []uint64 {
	start := uint64(slot) * f.slotSize
	return f.words[start : start+f.slotSize : start+f.slotSize]
}

// Kind returns Compact.
func (f *compact) Kind() Kind { return Compact }

// Generations returns the number of slots.
func (f *compact) Generations() int { return len(f.ring) }

// Hashes returns the number of bits a key sets.
func (f *compact) Hashes() int { return f.hashes }

// Prefetch asks for the first bit of each order in every slot: half of the
// absent keys are known by it, and a batch of more bits would not fit the cache.
func (f *compact) Prefetch(orders []uint64) {
	base := unsafe.Pointer(unsafe.SliceData(f.words))
	for slot := range f.ring {
		// Word high(order × words) holds bit high(order × words × 64).
		prefetch.Scaled(unsafe.Add(base, uint64(slot)*f.slotSize*8), f.slotSize, 3, orders)
	}
}

// Touch makes the memory resident.
func (f *compact) Touch() { f.region.Touch() }

// Bytes returns the size of the filter in memory.
func (f *compact) Bytes() int64 { return int64(len(f.words)+len(f.sweep.early)) * 8 }

// Close frees the memory.
func (f *compact) Close() {
	f.ring, f.words = nil, nil
	f.region.Free()
}

// Reset empties a slot.
func (f *compact) Reset(slot int) {
	checkSlot(slot, len(f.ring))
	for f.ClearStep() {
	}
	f.sweep.begin(slot)
}

// ClearStep clears a piece of what Reset left.
func (f *compact) ClearStep() (more bool) {
	slot := f.sweep.pending()
	if slot < 0 {
		return false
	}
	column := f.column(slot)
	for range f.sweep.step {
		first, n, keep := f.sweep.next()
		if n == 0 {
			return false
		}
		group := column[first*unitWords:][:n*unitWords]
		if keep == 0 {
			clear(group)
			continue
		}
		for i := range n {
			if keep>>i&1 == 0 {
				clear(group[i*unitWords:][:unitWords])
			}
		}
	}
	return true
}

// Fill returns the share of a slot's bits that are set.
func (f *compact) Fill(slot int) float64 {
	checkSlot(slot, len(f.ring))
	sum, n, step := 0, 0, sampleStep(f.slotSize)
	for i := uint64(0); i < f.slotSize; i += step {
		sum += bits.OnesCount64(f.word(slot, i))
		n += 64
	}
	return float64(sum) / float64(n)
}

// Rate returns the predicted share of absent keys that are "maybe" in any slot:
// 1 - Π (1 - fill^k).
func (f *compact) Rate() float64 {
	none := 1.0
	for slot := range f.ring {
		none *= 1 - math.Pow(f.Fill(slot), float64(f.hashes))
	}
	return 1 - none
}

// word returns what counts of word i of a slot.
func (f *compact) word(slot int, i uint64) uint64 {
	if f.sweep.pending() == slot && !f.sweep.clean(i/unitWords) {
		return 0
	}
	return f.column(slot)[i]
}

// SlotBytes returns the size of a column.
func (f *compact) SlotBytes() int { return int(f.slotSize) * 8 }

// ReadSlot copies a part of a slot's column: its bits in their order, as little
// endian words.
func (f *compact) ReadSlot(slot, off int, dst []byte) {
	checkSlot(slot, len(f.ring))
	checkColumn(off, len(dst), f.SlotBytes())
	at := uint64(off / 8)
	for i := 0; i < len(dst); i += 8 {
		binary.LittleEndian.PutUint64(dst[i:], f.word(slot, at))
		at++
	}
}

// MergeSlot adds all keys of a part of a column to a slot.
func (f *compact) MergeSlot(slot, off int, src []byte) {
	checkSlot(slot, len(f.ring))
	checkColumn(off, len(src), f.SlotBytes())
	column, sweeping := f.column(slot), f.sweep.pending() == slot
	at := uint64(off / 8)
	for i := 0; i < len(src); i += 8 {
		if sweeping {
			f.clearFor(column, at/unitWords)
		}
		column[at] |= binary.LittleEndian.Uint64(src[i:])
		at++
	}
}

// clearFor clears a unit of the slot that is being swept before bits are added.
func (f *compact) clearFor(column []uint64, unit uint64) {
	if f.sweep.clean(unit) {
		return
	}
	clear(column[unit*unitWords:][:unitWords])
	f.sweep.claim(unit)
}
