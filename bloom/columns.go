package bloom

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/firstseen/firstseen/internal/mem"
)

// Columns is a snapshot in memory, read-only: for a process that only wants to
// ask whether a generation may hold a key. Maybe may be called by many
// goroutines.
type Columns struct {
	kind   Kind
	hashes int
	shards int
	words  []uint64 // of all shards, one after the other
	size   uint64   // words of a shard
	region *mem.Region
}

// Load reads and verifies all columns into memory outside the collector's heap,
// which Close frees.
func (s *Snapshot) Load() (*Columns, error) {
	h := s.header
	region, err := mem.Alloc(h.SlotBytes * len(h.Positions))
	if err != nil {
		return nil, fmt.Errorf("bloom: load %s: %w", s.name, err)
	}
	c := &Columns{
		kind:   h.Kind,
		hashes: h.Hashes,
		shards: len(h.Positions),
		words:  region.Uint64s(),
		size:   uint64(h.SlotBytes / 8),
		region: region,
	}
	var column []byte
	for shard := range c.shards {
		if column, err = s.ReadShard(shard, column); err != nil {
			c.Close()
			return nil, err
		}
		words := c.shard(shard)
		for i := range words {
			words[i] = binary.LittleEndian.Uint64(column[8*i:])
		}
	}
	return c, nil
}

func (c *Columns) shard(i int) []uint64 {
	start := uint64(i) * c.size
	return c.words[start : start+c.size]
}

// Maybe reports whether the generation may hold the key of the given order in a
// shard (0 to the number of shards - 1, else it panics); false is certain.
func (c *Columns) Maybe(shard int, order uint64) bool {
	if uint(shard) >= uint(c.shards) {
		panic(fmt.Sprintf("bloom: shard %d of %d", shard, c.shards))
	}
	words := c.shard(shard)
	if c.kind == Sliced {
		return wordMask(order, c.hashes)&^words[mulhi(order, c.size)] == 0
	}
	p := newProbe(order)
	for range c.hashes {
		at := mulhi(p.at, c.size*64)
		if words[at/64]>>(at%64)&1 == 0 {
			return false
		}
		p.next()
	}
	return true
}

// Rate returns the share of absent keys for which Maybe is true. It counts all
// bits, about 0.1 ms per MB.
func (c *Columns) Rate() float64 {
	var count [65]uint64 // of words by their set bits
	for _, w := range c.words {
		count[bits.OnesCount64(w)]++
	}
	rate, set := 0.0, 0.0
	for x, n := range count {
		share := float64(n) / float64(len(c.words))
		rate += share * math.Pow(float64(x)/64, float64(c.hashes))
		set += share * float64(x) / 64
	}
	if c.kind == Compact {
		return math.Pow(set, float64(c.hashes))
	}
	return rate
}

// Bytes returns the size in memory.
func (c *Columns) Bytes() int64 { return int64(len(c.words)) * 8 }

// Close frees the memory. No other call may run beside it or follow it.
func (c *Columns) Close() {
	c.words = nil
	c.region.Free()
}
