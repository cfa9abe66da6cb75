package persist

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
)

// Forms of records. Runs of one form hold nothing else; only fixed and variable
// matter here.
const firstVariableForm = 3

func fixedForm(form uint8) bool { return form < firstVariableForm }

// blocksFor is the number of blocks of a run for so many keys: up to a third more
// than blockKeys asks for, where records then take a byte less. With 2^bits blocks, an order
// without its zeros and without what its block tells fits into width-1 bytes. The manifest has
// the number, so readers don't depend on this choice.
func blocksFor(keys uint64, form, zeros uint8) uint64 {
	n := max(1, (keys+blockKeys-1)/blockKeys)
	if !fixedForm(form) {
		return n
	}
	bits := 64 - int(zeros) - 8*(layoutOf(n, zeros).width-1)
	if more := uint64(1) << bits; bits < 32 && n < more && more <= n+n/3 {
		return more
	}
	return n
}

// A layout says how the fixed records of a run are packed. Its block tells a
// record most of its order's high bits, and its low zeros are known: a record is
// how far its order, without the zeros, is behind the first of the block, in as
// few bytes as the run needs, and then lo. With 3 million keys in 16 shards that
// is 14 bytes.
type layout struct {
	blocks uint64
	zeros  uint8
	width  int // bytes of the distance
}

func layoutOf(blocks uint64, zeros uint8) layout {
	most := math.MaxUint64 / blocks >> zeros // 2^64/blocks, rounded up, is what a block spans
	return layout{blocks, zeros, max(1, (bits.Len64(most)+7)/8)}
}

func (l *layout) recordBytes() int { return l.width + loBytes }

// first returns the smallest order of a block, without the zeros: block × 2^64 / blocks, rounded
// up, since blockOf rounds down.
func (l *layout) first(block uint32) uint64 {
	order, rest := bits.Div64(uint64(block), 0, l.blocks)
	if rest > 0 {
		order++
	}
	return (order + 1<<l.zeros - 1) >> l.zeros
}

// last returns the largest order of a block, without the zeros.
func (l *layout) last(block uint32) uint64 {
	if uint64(block)+1 == l.blocks {
		return math.MaxUint64 >> l.zeros
	}
	return l.first(block+1) - 1
}

// distance reads the first part of a record. It reads 8 bytes, whatever the width: a record has
// at least 9, and the surplus is masked out.
func (l *layout) distance(record []byte) uint64 {
	return binary.LittleEndian.Uint64(record) & (1<<(8*l.width) - 1)
}

// blockOf is the block that holds the keys of an order; rest says where in it
// they are expected, as a part of 2^64.
func blockOf(order uint64, blocks uint32) (block uint32, rest uint64) {
	b, rest := bits.Mul64(order, uint64(blocks))
	return uint32(b), rest
}

// A Block is some keys of a run, in order. It is valid until the function that
// got it returns.
type Block struct {
	records []byte   // without the checksum
	starts  []uint32 // variable forms: of each key, behind its length byte
	layout  layout   // fixed forms
	first   uint64   // see layout.first
}

// Len returns the number of keys.
func (b *Block) Len() int {
	if b.starts != nil {
		return len(b.starts)
	}
	return len(b.records) / b.layout.recordBytes()
}

// Pair returns key i of a fixed form.
func (b *Block) Pair(i int) (order, lo uint64) {
	n := b.layout.recordBytes()
	p := b.records[i*n:][:n]
	return (b.first + b.layout.distance(p)) << b.layout.zeros, binary.LittleEndian.Uint64(p[b.layout.width:])
}

// Key returns key i of a variable form.
func (b *Block) Key(i int) []byte {
	start := b.starts[i]
	return b.records[start : start+uint32(b.records[start-1])]
}

// parse sets the block to the records of one of a run, and reports whether they
// are well formed.
func (b *Block) parse(r *Run, block uint32, records []byte) bool {
	b.records = records
	if fixedForm(r.meta.Form) {
		b.starts, b.layout, b.first = nil, r.layout, r.layout.first(block)
		return len(records)%r.layout.recordBytes() == 0
	}
	if b.starts == nil {
		b.starts = make([]uint32, 0, 2*blockKeys)
	}
	b.starts = b.starts[:0]
	for at := 0; at < len(records); {
		n := int(records[at])
		if n == 0 || at+1+n > len(records) {
			return false
		}
		b.starts = append(b.starts, uint32(at+1))
		at += 1 + n
	}
	return true
}

// sum returns the sum of the keys' hashes.
func (b *Block) sum() uint64 {
	var sum uint64
	if b.starts != nil {
		for i := range b.starts {
			sum += hashBytes(b.Key(i))
		}
		return sum
	}
	for i := range b.Len() {
		sum += hashPair(b.Pair(i))
	}
	return sum
}

// find looks for a record of a fixed form in a block, from where rest (see
// blockOf) expects it: the records ascend by (order, lo) and are spread evenly, so
// a few steps do (12 ns against 30 from the front). It goes back to the first record of that
// order, since several may share one, and both words decide (I3).
func (l *layout) find(records []byte, block uint32, rest, order, lo uint64) bool {
	size := l.recordBytes()
	n := len(records) / size
	if n == 0 {
		return false
	}
	want := order>>l.zeros - l.first(block)
	g, _ := bits.Mul64(rest, uint64(n))
	i := int(g) * size
	for i > 0 && l.distance(records[i-size:]) >= want {
		i -= size
	}
	for ; i+size <= len(records); i += size {
		switch d := l.distance(records[i:]); {
		case d > want:
			return false
		case d == want && binary.LittleEndian.Uint64(records[i+l.width:]) == lo:
			return true
		}
	}
	return false
}

// findBytes looks for a record of a variable form. It starts at the front, since records have no
// fixed length and their orders are not stored.
func findBytes(records, key []byte) bool {
	for p := records; len(p) > 0; {
		n := 1 + int(p[0])
		if n > len(p) {
			return false
		}
		if n == 1+len(key) && bytes.Equal(p[1:n], key) {
			return true
		}
		p = p[n:]
	}
	return false
}

// The sum of a run is of these hashes of its records. They need not be strong:
// every byte is under a CRC too; the sum tells a run whose blocks are each whole
// but not the ones that were promised.
const (
	mix1 = 0x9e3779b97f4a7c15 // 2^64 / golden ratio
	mix2 = 0xd6e8feb86659fd93 // of "rrmxmx", Pelle Evensen
)

func hashPair(order, lo uint64) uint64 {
	h, l := bits.Mul64(order^mix1, lo^mix2)
	return h ^ l ^ order
}

func hashBytes(key []byte) uint64 {
	h := uint64(len(key)) * mix1
	for ; len(key) >= 8; key = key[8:] {
		h = hashPair(h, binary.LittleEndian.Uint64(key))
	}
	var tail uint64
	for i, c := range key {
		tail |= uint64(c) << (8 * i)
	}
	return hashPair(h, tail)
}
