package bloom

import (
	"errors"
	"fmt"
)

// MaxGenerations is the largest number of generations a filter has room for:
// the words of a cache line, and the bits of a mask.
const MaxGenerations = 8

const (
	minBitsPerKey = 1
	maxBitsPerKey = 512
	// maxFilterBits bounds one filter to 32 TiB, so that no size overflows.
	maxFilterBits = 1 << 48
)

// A Filter remembers which generations of a window may hold a key.
//
// A key is given by its order, a 64-bit hash whose high bits choose the place
// in memory, so that keys in ascending order touch ascending addresses. The
// low bits may all be zero.
//
// A generation lies in a slot, numbered from 0; a slot is reused for a new
// generation by Reset. Batches answer and add the same as single calls, many
// times faster when the filter is larger than the cache.
//
// A Filter has no lock. Its owner sees to it that calls do not overlap, except:
//   - Prefetch may run beside any call but Close.
//   - ReadSlot of a slot may run beside calls that concern other slots only, and beside Maybe
//     and MaybeBatch. Add, AddBatch, MergeSlot and Reset concern the slot they name; ClearStep
//     and Reset also concern the slot that was reset last, while it is being cleared.
//   - Touch may run beside any call but Close.
//
// A slot number outside 0 to Generations()-1 is a programmer's error and panics.
type Filter interface {
	// Kind returns the filter's layout.
	Kind() Kind
	// Generations returns the number of slots.
	Generations() int
	// Hashes returns the number of bits that a key sets in its generation.
	Hashes() int
	// Prefetch brings the memory of orders near that will be looked up by Maybe or added
	// soon, for a caller that has other work to do meanwhile. It is a hint; some hundreds of
	// orders at a time fit the cache.
	Prefetch(orders []uint64)
	// Maybe returns a mask: bit s is set when slot s may hold the key, clear
	// when it certainly does not.
	Maybe(order uint64) uint8
	// MaybeBatch puts the mask of orders[i] into masks[i]. It panics when masks
	// is shorter than orders. It is made for a filter that is larger than the cache.
	MaybeBatch(masks []uint8, orders []uint64)
	// Add puts the key into a slot.
	Add(slot int, order uint64)
	// AddBatch puts all of the keys into a slot.
	AddBatch(slot int, orders []uint64)
	// Reset makes a slot empty for all later calls. The memory is cleared later,
	// by ClearStep. When the clearing of an earlier Reset is not done yet, Reset
	// first does the rest of it, 5 to 20 ms for each GB of the filter.
	Reset(slot int)
	// ClearStep clears a piece of what Reset left, in a few µs, and
	// reports whether there is more to do. Until all is done look-ups and
	// additions cost a few ns more.
	ClearStep() (more bool)
	// Fill returns the share of a slot's bits that are set, from 0 to 1. It
	// counts a fixed sample of up to 64 Kbit, spread over the slot, which is
	// exact to about 0.002.
	Fill(slot int) float64
	// Rate returns the share of absent keys that would be "maybe" in any slot
	// at the present fill. It samples like Fill.
	Rate() float64
	// Touch makes the memory resident, so that no addition waits for the kernel:
	// about 0.1 ms for each 2 MiB.
	Touch()
	// Bytes returns the size of the filter in memory.
	Bytes() int64
	// SlotBytes returns the size of one slot's column of bits, a multiple of 8.
	// Filters of equal kind, hashes and slot size have exchangeable columns.
	SlotBytes() int
	// ReadSlot copies bytes [off, off+len(dst)) of a slot's column into dst.
	// Both numbers must be multiples of 8 within the column, or it panics.
	ReadSlot(slot, off int, dst []byte)
	// MergeSlot adds to a slot all keys of a column, given as bytes [off,
	// off+len(src)) of it, under the same rules as ReadSlot.
	MergeSlot(slot, off int, src []byte)
	// Close frees the memory. No other call may run beside it or follow it.
	Close()
}

// A Config sizes a filter.
type Config struct {
	// Keys is the number of keys that all slots hold together when the window
	// is full, evenly spread over them. More keys raise the rate of "maybe"
	// and lose nothing.
	Keys uint64
	// BitsPerKey is the memory for each of Keys in bits, 1 to 512. See Size for
	// the number that a rate takes.
	BitsPerKey float64
	// Generations is the number of slots, 2 to 8. Sliced pads 3 to 4 and 5, 6
	// and 7 to 8, on top of BitsPerKey.
	Generations int
	// Hashes is the number of bits that a key sets: 1 to 10 for Sliced, 1 to 32
	// for Compact. 0 takes the number that Size gives for the BitsPerKey.
	Hashes int
}

// New returns an empty filter, or one error that names all that is wrong with
// the configuration. Its memory lies outside the garbage collector's heap and
// is freed by Close alone.
func New(kind Kind, c Config) (Filter, error) {
	if err := c.check(kind); err != nil {
		return nil, err
	}
	if c.Hashes == 0 {
		c.Hashes = bestHashes(kind, c.BitsPerKey, c.Generations)
	}
	if kind == Compact {
		return newCompact(c)
	}
	return newSliced(c)
}

func (c Config) check(kind Kind) error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !kind.valid() {
		bad("kind is %v", kind)
	}
	if c.Keys == 0 {
		bad("Keys is 0, it must be positive")
	}
	if !(c.BitsPerKey >= minBitsPerKey && c.BitsPerKey <= maxBitsPerKey) {
		bad("BitsPerKey is %v, it must be from %d to %d", c.BitsPerKey, minBitsPerKey, maxBitsPerKey)
	} else if float64(c.Keys)*c.BitsPerKey > maxFilterBits {
		bad("Keys is %d at %v bits, a filter has at most %d bits", c.Keys, c.BitsPerKey, int64(maxFilterBits))
	}
	if c.Generations < 2 || c.Generations > MaxGenerations {
		bad("Generations is %d, it must be from 2 to %d", c.Generations, MaxGenerations)
	}
	if c.Hashes < 0 || c.Hashes > kind.maxHashes() {
		bad("Hashes is %d, it must be from 1 to %d for %v, or 0", c.Hashes, kind.maxHashes(), kind)
	}
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("bloom: bad configuration: %w", errors.Join(problems...))
}
