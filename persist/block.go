package persist

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/firstseen/firstseen/internal/sabotage"
)

// Forms of records. Runs of one form hold nothing else; only fixed and variable
// matter here.
const firstVariableForm = 3

func fixedForm(form uint8) bool { return form < firstVariableForm }

// blocksFor is the number of blocks of a run for so many keys.
func blocksFor(keys uint64) uint64 { return max(1, (keys+blockKeys-1)/blockKeys) }

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
}

// Len returns the number of keys.
func (b *Block) Len() int {
	if b.starts != nil {
		return len(b.starts)
	}
	return len(b.records) / fixedRecord
}

// Pair returns key i of a fixed form.
func (b *Block) Pair(i int) (hi, lo uint64) {
	p := b.records[i*fixedRecord:][:fixedRecord]
	return binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
}

// Key returns key i of a variable form.
func (b *Block) Key(i int) []byte {
	start := b.starts[i]
	return b.records[start : start+uint32(b.records[start-1])]
}

// parse sets the block to records, and reports whether they are well formed.
func (b *Block) parse(form uint8, records []byte) bool {
	b.records = records
	if fixedForm(form) {
		b.starts = nil
		return len(records)%fixedRecord == 0
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
	for p := b.records; len(p) >= fixedRecord; p = p[fixedRecord:] {
		sum += hashPair(binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:]))
	}
	return sum
}

// findPair looks for a record of a fixed form, from where it is expected: the
// records ascend by (hi, lo) and are spread evenly, so a few steps do (12 ns
// against 30 from the front).
func findPair(records []byte, rest, hi, lo uint64) bool {
	n := len(records) / fixedRecord
	if n == 0 {
		return false
	}
	g, _ := bits.Mul64(rest, uint64(n))
	i := int(g) * fixedRecord
	for i > 0 && binary.LittleEndian.Uint64(records[i-fixedRecord:]) >= hi {
		i -= fixedRecord
	}
	for ; i+fixedRecord <= len(records); i += fixedRecord {
		switch h := binary.LittleEndian.Uint64(records[i:]); {
		case h > hi:
			return false
		case h == hi && (binary.LittleEndian.Uint64(records[i+8:]) == lo || sabotage.On(sabotage.HashDecides)):
			return true
		}
	}
	return false
}

// findBytes looks for a record of a variable form.
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

func hashPair(hi, lo uint64) uint64 {
	h, l := bits.Mul64(hi^mix1, lo^mix2)
	return h ^ l ^ hi
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
