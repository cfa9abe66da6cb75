package bloom

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"unsafe"

	"github.com/firstseen/firstseen/internal/mem"
	"github.com/firstseen/firstseen/internal/prefetch"
)

// A sliced keeps the generations side by side: word s of a line belongs
// to slot s. A key chooses one line and, by k bits, one mask; a slot may hold
// the key if its word of the line has all of the mask's bits. So one cache miss
// answers for all generations, where eight blocked filters take eight.
//
// It is a blocked Bloom filter (Putze, Sanders, Singler, Cache-, Hash- and
// Space-Efficient Bloom Filters, 2007) with blocks of one word, so it needs more
// bits for a rate than an unblocked one: see PredictRate.
//
// See [Filter] for who may call what at once.
type sliced struct {
	words       []uint64
	lines       uint64
	shift       uint // log2 of the words of a line
	hashes      int
	generations int
	lanes       [lanesMax]uint64 // the kernels' constants for hashes
	sweep       sweep
	region      *mem.Region
}

var _ Filter = (*sliced)(nil)

// minLines keeps the smallest filter from degenerating to a few words.
const minLines = 16

// slicedLines returns the number of lines for a configuration: every line has
// one word per generation.
func slicedLines(c Config) uint64 {
	lines := math.Ceil(float64(c.Keys) * c.BitsPerKey / float64(64*c.Generations))
	return max(uint64(lines), minLines)
}

// lineShift returns log2 of the words of a line: a power of two that holds the
// generations, so that no line straddles two cache lines.
func lineShift(generations int) uint { return uint(bits.Len(uint(generations - 1))) }

func newSliced(c Config) (*sliced, error) {
	lines, shift := slicedLines(c), lineShift(c.Generations)
	region, err := mem.Alloc(int(lines << shift * 8))
	if err != nil {
		return nil, fmt.Errorf("bloom: %w", err)
	}
	f := &sliced{
		words:       region.Uint64s(),
		lines:       lines,
		shift:       shift,
		hashes:      c.Hashes,
		generations: c.Generations,
		lanes:       kernelLanes(c.Hashes),
		region:      region,
	}
	f.sweep.init(lines)
	return f, nil
}

// Kind returns Sliced.
func (f *sliced) Kind() Kind { return Sliced }

// Generations returns the number of slots.
func (f *sliced) Generations() int { return f.generations }

// Hashes returns the number of bits a key sets.
func (f *sliced) Hashes() int { return f.hashes }

// Prefetch asks for the line of each order.
func (f *sliced) Prefetch(orders []uint64) {
	prefetch.Scaled(unsafe.Pointer(unsafe.SliceData(f.words)), f.lines, uint8(f.shift+3), orders)
}

// Touch makes the memory resident.
func (f *sliced) Touch() { f.region.Touch() }

// Bytes returns the size of the filter in memory.
func (f *sliced) Bytes() int64 { return int64(len(f.words)+len(f.sweep.early)) * 8 }

// Close frees the memory.
func (f *sliced) Close() {
	f.words = nil
	f.region.Free()
}

// Reset empties a slot.
func (f *sliced) Reset(slot int) {
	checkSlot(slot, f.generations)
	for f.ClearStep() {
	}
	f.sweep.begin(slot)
}

// ClearStep clears a piece of what Reset left.
func (f *sliced) ClearStep() (more bool) {
	slot := f.sweep.pending()
	if slot < 0 {
		return false
	}
	for range f.sweep.step {
		first, n, keep := f.sweep.next()
		if n == 0 {
			return false
		}
		column := f.words[first<<f.shift+uint64(slot):]
		// A word that an addition has cleared is kept, by a mask and not by a branch.
		for i := range n {
			column[i<<f.shift] &= -(keep >> i & 1)
		}
	}
	return true
}

// Fill returns the share of a slot's bits that are set.
func (f *sliced) Fill(slot int) float64 {
	checkSlot(slot, f.generations)
	sum, step := 0, sampleStep(f.lines)
	n := 0
	for line := uint64(0); line < f.lines; line += step {
		sum += bits.OnesCount64(f.word(slot, line))
		n += 64
	}
	return float64(sum) / float64(n)
}

// Rate returns the predicted share of absent keys that are "maybe" in any slot:
// the mean over the lines of 1 - Π (1 - (set bits of the word / 64)^k).
func (f *sliced) Rate() float64 {
	var perfect [65]float64 // perfect[x]: chance that k random bits hit x set ones
	for x := range perfect {
		perfect[x] = math.Pow(float64(x)/64, float64(f.hashes))
	}
	sum, n, step := 0.0, 0, sampleStep(f.lines)
	for line := uint64(0); line < f.lines; line += step {
		none := 1.0
		for slot := range f.generations {
			none *= 1 - perfect[bits.OnesCount64(f.word(slot, line))]
		}
		sum += 1 - none
		n++
	}
	return sum / float64(n)
}

// word returns what counts of a slot's word.
func (f *sliced) word(slot int, line uint64) uint64 {
	if f.sweep.pending() == slot && !f.sweep.clean(line) {
		return 0
	}
	return f.words[line<<f.shift+uint64(slot)]
}

// SlotBytes returns the size of a column: one word per line.
func (f *sliced) SlotBytes() int { return int(f.lines) * 8 }

// ReadSlot copies a part of a slot's column: the words of the slot in the order
// of the lines, little endian.
func (f *sliced) ReadSlot(slot, off int, dst []byte) {
	checkSlot(slot, f.generations)
	checkColumn(off, len(dst), f.SlotBytes())
	line := uint64(off / 8)
	if f.sweep.pending() == slot {
		for i := 0; i < len(dst); i += 8 {
			binary.LittleEndian.PutUint64(dst[i:], f.word(slot, line))
			line++
		}
		return
	}
	for i := 0; i < len(dst); i += 8 {
		binary.LittleEndian.PutUint64(dst[i:], f.words[line<<f.shift+uint64(slot)])
		line++
	}
}

// MergeSlot adds all keys of a part of a column to a slot.
func (f *sliced) MergeSlot(slot, off int, src []byte) {
	checkSlot(slot, f.generations)
	checkColumn(off, len(src), f.SlotBytes())
	sweeping := f.sweep.pending() == slot
	line := uint64(off / 8)
	for i := 0; i < len(src); i += 8 {
		f.set(slot, line, binary.LittleEndian.Uint64(src[i:]), sweeping)
		line++
	}
}
