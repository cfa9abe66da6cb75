package persist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sort"
	"unsafe"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
)

// A Run is a sorted, immutable set of keys of one shard and one form. Block b of its n blocks
// holds the keys with mulhi(order, n) == b, so a look-up finds the block by arithmetic and no
// search. All methods may be called at once: nothing changes after openRun.
type Run struct {
	seg    *Segment
	meta   RunMeta
	layout layout   // of a fixed form's records
	index  []uint32 // where each block starts in the concatenated values, and where the last one ends
	starts []uint32 // where each value starts there, and where the last one ends
	// values are slices of Badger's mapped files, looked up once, when the run is opened. They
	// may only be read while the segment is pinned, since closing it unmaps them.
	values [][]byte
}

// Bytes returns the length of the run's values and index.
func (m *RunMeta) Bytes() int64 {
	n := int64(m.Index.Bytes)
	for _, v := range m.Values {
		n += int64(v.Bytes)
	}
	return n
}

// Meta describes the run as the manifest has to promise it.
func (r *Run) Meta() RunMeta { return r.meta }

// Seq returns the sequence number of the table that the run was made of.
func (r *Run) Seq() uint64 { return r.meta.Seq }

// Segment returns the segment that the run lies in.
func (r *Run) Segment() *Segment { return r.seg }

// MemoryBytes returns the memory that the run takes, in bytes: 4 per block for the
// index, so about a quarter of a byte per key.
func (r *Run) MemoryBytes() int {
	return 4*(cap(r.index)+cap(r.starts)) + 24*len(r.values) + 256
}

func valueKey(run uint64, number uint32) []byte {
	k := make([]byte, 1, keyLen)
	k[0] = keyPrefix
	k = binary.BigEndian.AppendUint64(k, run)
	return binary.BigEndian.AppendUint32(k, number)
}

// openRun makes a run readable and checks that all of it is there; the contents
// of its blocks are checked when they are read.
func (s *Segment) openRun(m RunMeta) (*Run, error) {
	r := &Run{seg: s, meta: m}
	if err := r.checkMeta(); err != nil {
		return nil, err
	}
	r.layout = layoutOf(uint64(m.Blocks), m.Zeros)
	if err := r.guarded(indexNumber, r.openValues); err != nil {
		return nil, err
	}
	if err := r.checkIndex(); err != nil {
		return nil, err
	}
	return r, nil
}

// guarded calls fn, which reads the values of an open segment. Badger panics where its own
// entries are damaged, and a page of a mapped file that can't be read is a fault. Both become
// an error that names the value (I5).
func (r *Run) guarded(value uint32, fn func() error) (err error) {
	if !r.seg.pins.pin() {
		return ErrRetired
	}
	defer r.seg.pins.unpin()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = r.damageIn(value, 0, "reading it: %v", p)
		}
	}()
	return fn()
}

// openValues finds all values and reads the index.
func (r *Run) openValues() (err error) {
	m := &r.meta
	r.values = make([][]byte, len(m.Values))
	r.starts = make([]uint32, 1, len(m.Values)+1)
	for i, v := range m.Values {
		if r.values[i], err = r.openValue(uint32(i), v); err != nil {
			return err
		}
		r.starts = append(r.starts, r.starts[i]+v.Bytes)
	}
	index, err := r.openValue(indexNumber, m.Index)
	if err != nil {
		return err
	}
	if err := r.readIndex(index); err != nil {
		return err
	}
	// In the order in which they were written.
	for _, p := range append(slices.Clip(r.values), index) {
		r.seg.store.noteMapped(p)
	}
	return nil
}

// unmapWritten takes the pages of a run that was just written out of the page table before the
// sync: writing back a mapped page interrupts every processor, which was 12 % of the machine's
// time under load (docs/decisions/010).
func (r *Run) unmapWritten() error {
	for i, p := range r.values {
		err := r.guarded(uint32(i), func() error {
			vfs.UnmapPages(p)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkMeta refuses a description that no writer makes, before anything is allocated by it.
func (r *Run) checkMeta() error {
	total := int64(0)
	for _, v := range r.meta.Values {
		total += int64(v.Bytes)
	}
	switch m := &r.meta; {
	case m.Blocks == 0 || len(m.Values) == 0:
		return r.damage("described with %d blocks in %d values", m.Blocks, len(m.Values))
	case m.Zeros > maxZeros:
		return r.damage("described with orders that lack %d bits", m.Zeros)
	case int64(m.Index.Bytes) != 4*(int64(m.Blocks)+1):
		return r.damage("described with %d blocks and an index of %d bytes", m.Blocks, m.Index.Bytes)
	case total > maxRunBytes:
		return r.damage("described with %d bytes, more than offsets can tell", total)
	}
	return nil
}

// openValue asks Badger for a value and checks its length.
func (r *Run) openValue(number uint32, m ValueMeta) ([]byte, error) {
	p, err := r.seg.store.get(valueKey(r.meta.ID, number))
	if err != nil {
		return nil, r.damageIn(number, 0, "%v", err)
	}
	if len(p) != int(m.Bytes) {
		return nil, r.damageIn(number, 0, "%d bytes, %d expected", len(p), m.Bytes)
	}
	return p, nil
}

// readIndex decodes the index, which is small enough to be checked as a whole and kept in
// memory.
func (r *Run) readIndex(p []byte) error {
	if got := checksum(p); len(p) != int(r.meta.Index.Bytes) || got != r.meta.Index.CRC {
		return r.damageIn(indexNumber, 0, "checksum %08x of %d bytes, %08x of %d expected",
			got, len(p), r.meta.Index.CRC, r.meta.Index.Bytes)
	}
	r.index = make([]uint32, r.meta.Blocks+1)
	for i := range r.index {
		r.index[i] = binary.LittleEndian.Uint32(p[4*i:])
	}
	return nil
}

// checkIndex makes sure that no offset leads out of the values, and that no
// block lies in two of them. blockData and parse slice by the index without looking again.
func (r *Run) checkIndex() error {
	end := r.starts[len(r.starts)-1]
	if r.index[0] != 0 || r.index[len(r.index)-1] != end {
		return r.damageIn(indexNumber, 0, "covers %d to %d of %d bytes", r.index[0], r.index[len(r.index)-1], end)
	}
	value := 1 // the first start that is not yet met
	for b := 1; b < len(r.index); b++ {
		if r.index[b] < r.index[b-1]+blockSum {
			return r.damageIn(indexNumber, int64(4*b), "block %d has no room for its checksum", b-1)
		}
		if value < len(r.starts) && r.index[b] >= r.starts[value] {
			if r.index[b] > r.starts[value] {
				return r.damageIn(indexNumber, int64(4*b), "block %d does not end with its value", b-1)
			}
			value++
		}
	}
	return nil
}

// valueAt returns the number of the value that holds the offset. Where values are
// filled up to valueLimit the first guess is right, or next to it.
func (r *Run) valueAt(offset uint32) int {
	v := min(int(offset/valueLimit), len(r.values)-1)
	for r.starts[v] > offset {
		v--
	}
	for v+1 < len(r.values) && r.starts[v+1] <= offset {
		v++
	}
	return v
}

// blockData returns a block with its checksum.
func (r *Run) blockData(block uint32) []byte {
	from, to := r.index[block], r.index[block+1]
	v := r.valueAt(from)
	return r.values[v][from-r.starts[v] : to-r.starts[v]]
}

func (r *Run) indexAddress(block uint32) uintptr {
	return uintptr(unsafe.Pointer(&r.index[block]))
}

func address(p []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(p))) }

// firstBlock returns the first block of a value.
func (r *Run) firstBlock(value int) int {
	return sort.Search(len(r.index), func(b int) bool { return r.index[b] >= r.starts[value] })
}

func (r *Run) damage(format string, args ...any) error {
	return corrupt(r.seg.path, -1, "run %d: %s", r.meta.ID, fmt.Sprintf(format, args...))
}

// damageIn reports damage at an offset of one value; the offset is of the value,
// since where Badger keeps it is Badger's affair.
func (r *Run) damageIn(value uint32, offset int64, format string, args ...any) error {
	name := fmt.Sprintf("value %d", value)
	if value == indexNumber {
		name = "index"
	}
	return corrupt(r.seg.path, offset, "run %d, %s: %s", r.meta.ID, name, fmt.Sprintf(format, args...))
}

// damageAt reports damage of a block.
func (r *Run) damageAt(block uint32, format string, args ...any) error {
	v := r.valueAt(r.index[block])
	return r.damageIn(uint32(v), int64(r.index[block]-r.starts[v]), "block %d: %s", block, fmt.Sprintf(format, args...))
}

// isCorrupt tells damage of the data from other errors.
func isCorrupt(err error) bool { return errors.Is(err, dedup.ErrCorrupt) }
