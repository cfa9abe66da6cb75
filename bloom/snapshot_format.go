package bloom

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/firstseen/firstseen/dedup"
)

// A snapshot is one generation of one filter per shard. All numbers are little
// endian; S is the number of shards, B the bytes of a slot; checksums are
// CRC32C (Castagnoli).
//
//	offset        bytes  what
//	0             8      magic "FSBLOOM\n"
//	8             4      format version, 1
//	12            1      kind: 0 sliced, 1 compact
//	13            1      hashes, the bits a key sets
//	14            1      generations of the filters
//	15            1      zero
//	16            4      S, 1 to 65,536
//	20            4      zero
//	24            8      B, a multiple of 8, at least 8
//	32            8      number of the generation
//	40            8      start of the generation, Unix time in ns
//	48            8      end of the generation, Unix time in ns, 0 while it is live
//	56            8      keys in the generation
//	64            8×S    journal position that each shard's bits cover
//	64+8S         4      checksum of all bytes before
//	68+8S         S×     per shard, in order:
//	              B        the column of bits, see ReadSlot
//	              4        checksum of: the header's checksum (4), the shard's
//	                       number (4), the column
//	68+8S+S(B+4)  8      end marker "FSBLEND\n"
//	+8            4      checksum of the S checksums of the columns
//
// The header's checksum in that of a column keeps a section from passing for
// another shard's or another snapshot's. The end marker is written last, so a
// file without it is incomplete.
const (
	snapshotMagic   = "FSBLOOM\n"
	snapshotEnd     = "FSBLEND\n"
	snapshotVersion = 1

	fixedBytes = 64
	sumBytes   = 4
	endBytes   = len(snapshotEnd) + sumBytes

	maxShards    = 1 << 16
	maxSlotBytes = maxFilterBits / 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A SnapshotHeader says what a snapshot holds.
type SnapshotHeader struct {
	Kind        Kind
	Hashes      int    // bits a key sets
	Generations int    // slots of the filters it was taken of
	Generation  uint64 // number of the generation
	Start, End  int64  // of the generation, Unix time in nanoseconds; End 0: still live
	Keys        uint64 // keys in the generation
	SlotBytes   int    // size of a shard's column, Filter.SlotBytes

	// Positions has, for each shard, the journal position that its column
	// covers; its length is the number of shards.
	Positions []uint64
}

// check returns what is wrong with a header, "" if nothing is.
func (h *SnapshotHeader) check() string {
	switch {
	case !h.Kind.valid():
		return fmt.Sprintf("unknown kind %d", h.Kind)
	case h.Hashes < 1 || h.Hashes > h.Kind.maxHashes():
		return fmt.Sprintf("%d hashes, %v has 1 to %d", h.Hashes, h.Kind, h.Kind.maxHashes())
	case h.Generations < 2 || h.Generations > MaxGenerations:
		return fmt.Sprintf("%d generations, possible are 2 to %d", h.Generations, MaxGenerations)
	case len(h.Positions) < 1 || len(h.Positions) > maxShards:
		return fmt.Sprintf("%d shards, possible are 1 to %d", len(h.Positions), maxShards)
	}
	return checkSlotBytes(uint64(h.SlotBytes))
}

func checkSlotBytes(n uint64) string {
	if n < 8 || n%8 != 0 || n > maxSlotBytes {
		return fmt.Sprintf("slots of %d bytes, possible are multiples of 8 from 8 to %d", n, int64(maxSlotBytes))
	}
	return ""
}

// headerBytes is the size of a header with its checksum, also the offset of the
// first column.
func headerBytes(shards int) int64 { return fixedBytes + 8*int64(shards) + sumBytes }

// snapshotBytes is the size of a whole snapshot. Within the limits of check it
// is below 2^63.
func snapshotBytes(shards int, slotBytes uint64) int64 {
	return headerBytes(shards) + int64(shards)*(int64(slotBytes)+sumBytes) + int64(endBytes)
}

// encode returns the header's bytes with its checksum.
func (h *SnapshotHeader) encode() []byte {
	b := make([]byte, 0, headerBytes(len(h.Positions)))
	le := binary.LittleEndian
	b = append(b, snapshotMagic...)
	b = le.AppendUint32(b, snapshotVersion)
	b = append(b, byte(h.Kind), byte(h.Hashes), byte(h.Generations), 0)
	b = le.AppendUint32(b, uint32(len(h.Positions)))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(h.SlotBytes))
	b = le.AppendUint64(b, h.Generation)
	b = le.AppendUint64(b, uint64(h.Start))
	b = le.AppendUint64(b, uint64(h.End))
	b = le.AppendUint64(b, h.Keys)
	for _, p := range h.Positions {
		b = le.AppendUint64(b, p)
	}
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeFixed reads the fixed part of a header of a file of the given size, and
// allocates nothing that the size does not vouch for.
func decodeFixed(b *[fixedBytes]byte, size int64, name string) (h SnapshotHeader, shards int, err error) {
	corrupt := func(off int64, format string, args ...any) (SnapshotHeader, int, error) {
		return SnapshotHeader{}, 0, &dedup.CorruptError{File: name, Offset: off, Detail: fmt.Sprintf(format, args...)}
	}
	le := binary.LittleEndian
	if string(b[:8]) != snapshotMagic {
		return corrupt(0, "no filter snapshot: magic %q", b[:8])
	}
	switch v := le.Uint32(b[8:]); {
	case v == 0:
		return corrupt(8, "format version 0")
	case v > snapshotVersion:
		return h, 0, fmt.Errorf("bloom: %s: snapshot format %d, known is %d: %w", name, v, snapshotVersion, dedup.ErrIncompatible)
	}
	nShards, slotBytes := le.Uint32(b[16:]), le.Uint64(b[24:])
	if nShards < 1 || nShards > maxShards {
		return corrupt(16, "%d shards, possible are 1 to %d", nShards, maxShards)
	}
	if problem := checkSlotBytes(slotBytes); problem != "" || slotBytes > math.MaxInt {
		return corrupt(24, "%s", problem)
	}
	if want := snapshotBytes(int(nShards), slotBytes); want != size {
		return corrupt(-1, "file of %d bytes, the header promises %d", size, want)
	}
	h = SnapshotHeader{
		Kind:        Kind(b[12]),
		Hashes:      int(b[13]),
		Generations: int(b[14]),
		Generation:  le.Uint64(b[32:]),
		Start:       int64(le.Uint64(b[40:])),
		End:         int64(le.Uint64(b[48:])),
		Keys:        le.Uint64(b[56:]),
		SlotBytes:   int(slotBytes),
	}
	return h, int(nShards), nil
}

// sectionSum returns the checksum of a shard's column.
func sectionSum(headerSum uint32, shard int, column []byte) uint32 {
	var seed [8]byte
	binary.LittleEndian.PutUint32(seed[:], headerSum)
	binary.LittleEndian.PutUint32(seed[4:], uint32(shard))
	return crc32.Update(crc32.Checksum(seed[:], castagnoli), castagnoli, column)
}
