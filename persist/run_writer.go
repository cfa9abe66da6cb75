package persist

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist/journal"
)

// maxRunBytes is what the 32-bit offsets of an index can tell apart.
const maxRunBytes = math.MaxUint32

// RunSpec says what a new run is.
type RunSpec struct {
	ID         uint64 // never used before in this segment
	Shard      uint16
	Form       uint8 // 0 to 2 fixed, 3 and above variable
	Tombstones bool
	Zeros      uint8 // low bits that are 0 in every order: the shard's
	Seq        uint64
	MaxKeys    uint64      // at most so many keys come; it sets the number of blocks
	MaxPos     journal.Pos // every key was journaled below this
	Follow     int64       // bytes that other runs of the segment take before its next Sync: a hint
}

// A RunWriter writes one run. It is for one goroutine; several of one segment
// may work at once. One that is given up before Finish leaves values behind that
// are never looked at. Errors are kept until Finish.
type RunWriter struct {
	seg    *Segment
	meta   RunMeta
	max    uint64 // keys
	follow int64  // see RunSpec
	limit  int    // of a value's length
	err    error  // the first one; nothing is written after it
	buf    []byte // the value under way
	start  int    // of the block under way, in buf
	base   uint64 // where buf begins in the concatenated values
	block  uint32 // the block under way
	layout layout // of a fixed form's records
	first  uint64 // of the block under way, see layout.first
	last   uint64 // of the block under way, see layout.last
	low    uint64 // the bits of an order that must be zero
	few    []Pair // added one by one, not in buf yet
	index  []uint32
	prev   record // the last key added
	closed bool
}

// A Pair is a key of a fixed form: its hash, of which the shard's bits don't count,
// and the rest. It is an alias since it comes from a package that this one does not know.
type Pair = struct{ Hi, Lo uint64 }

type record struct {
	order, lo uint64
	key       []byte
}

// NewRun starts a run.
func (s *Segment) NewRun(spec RunSpec) *RunWriter { return s.newRun(spec, valueLimit) }

func (s *Segment) newRun(spec RunSpec, limit int) *RunWriter {
	w := &RunWriter{seg: s, max: spec.MaxKeys, follow: spec.Follow, limit: limit}
	w.meta = RunMeta{ID: spec.ID, Shard: spec.Shard, Form: spec.Form, Tombstones: spec.Tombstones,
		Zeros: spec.Zeros, Seq: spec.Seq, MaxPos: spec.MaxPos}
	if spec.Zeros > maxZeros {
		w.err = fmt.Errorf("persist: run %d: orders lack %d bits, at most %d may be", spec.ID, spec.Zeros, maxZeros)
		return w
	}
	blocks := blocksFor(spec.MaxKeys, spec.Form, spec.Zeros)
	if blocks > maxRunBytes/blockSum || (fixedForm(spec.Form) && spec.MaxKeys > maxRunBytes/fixedRecord) {
		w.err = fmt.Errorf("persist: run %d: %d keys are too many for one run", spec.ID, spec.MaxKeys)
		return w
	}
	w.meta.Blocks, w.layout, w.low = uint32(blocks), layoutOf(blocks, spec.Zeros), 1<<spec.Zeros-1
	w.last = w.layout.last(0)
	w.index = make([]uint32, 1, blocks+1)
	w.few = make([]Pair, 0, 64)
	// One block more than the limit, as a block's end is noticed behind it.
	w.buf = make([]byte, 0, min(limit+4<<10, int(spec.MaxKeys)*2*fixedRecord+4<<10))
	return w
}

// Add adds a key of a fixed form. Keys come in ascending order of (order, lo),
// each once, at most MaxKeys of them; order is the hash without the shard's bits.
func (w *RunWriter) Add(order, lo uint64) {
	if order&w.low != 0 {
		w.fail(fmt.Errorf("persist: run %d: order %#x does not end with %d zero bits", w.meta.ID, order, w.layout.zeros))
		return
	}
	if w.few = append(w.few, Pair{order >> w.layout.zeros, lo}); len(w.few) == cap(w.few) {
		w.addFew()
	}
}

// addFew adds the pairs that Add has collected.
func (w *RunWriter) addFew() {
	few := w.few
	w.few = w.few[:0]
	w.addPairs(few)
}

// AddPairs is Add for many keys, in the same order, given by their hashes; the bits of
// those that the run's Zeros stand for don't count.
func (w *RunWriter) AddPairs(pairs []Pair) {
	w.addFew()
	w.addPairs(pairs)
}

func (w *RunWriter) addPairs(pairs []Pair) {
	for len(pairs) > 0 && w.err == nil {
		b, _ := blockOf(pairs[0].Hi<<w.layout.zeros, w.meta.Blocks)
		if b != w.block {
			w.advance(b)
			w.first, w.last = w.layout.first(b), w.layout.last(b)
		}
		pairs = pairs[w.addToBlock(pairs):]
	}
}

// addToBlock adds the leading pairs that belong to the block under way, one at least, and
// returns how many. What the loop changes is kept in variables of its own, so that it stays in
// registers.
func (w *RunWriter) addToBlock(pairs []Pair) int {
	const most = 4 * blockKeys
	pairs = pairs[:min(most, len(pairs))]
	zeros, width, first, last := w.layout.zeros&63, w.layout.width, w.first, w.last
	w.buf = slices.Grow(w.buf, most*fixedRecord)
	at := len(w.buf)
	buf, prev, sum, n := w.buf[:cap(w.buf)], w.prev, w.meta.Sum, 0
	for _, pair := range pairs {
		order, lo := pair.Hi<<zeros, pair.Lo
		if order>>zeros > last {
			break
		}
		if order < prev.order || (order == prev.order && lo <= prev.lo) {
			w.checkOrder(order, w.meta.Keys+uint64(n))
		}
		prev.order, prev.lo = order, lo
		sum += hashPair(order, lo)
		// Eight bytes of distance are stored whatever the width. lo overwrites the surplus, and
		// the next record what lies behind it.
		record := buf[at:][:fixedRecord]
		binary.LittleEndian.PutUint64(record, order>>zeros-first)
		binary.LittleEndian.PutUint64(record[width:], lo)
		at += width + loBytes
		n++
	}
	w.buf = buf[:at]
	w.prev, w.meta.Sum = prev, sum
	w.meta.Keys += uint64(n)
	return n
}

// AddBytes adds a key of 1 to 255 bytes of a variable form. Keys come in
// ascending order of (order, bytes), each once, at most MaxKeys of them.
func (w *RunWriter) AddBytes(order uint64, key []byte) {
	if order < w.prev.order || (order == w.prev.order && bytes.Compare(key, w.prev.key) <= 0) {
		w.checkOrder(order, w.meta.Keys)
	}
	if len(key) == 0 || len(key) > maxRecord {
		w.fail(fmt.Errorf("persist: run %d: a key of %d bytes", w.meta.ID, len(key)))
		return
	}
	if b, _ := blockOf(order, w.meta.Blocks); b != w.block {
		w.advance(b)
	}
	w.prev.order, w.prev.key = order, append(w.prev.key[:0], key...)
	w.meta.Keys++
	w.meta.Sum += hashBytes(key)
	w.buf = append(w.buf, byte(len(key)))
	w.buf = append(w.buf, key...)
}

// checkOrder is the slow part of the check that keys ascend. A run out of order could not be
// searched, and a key twice in it would make count and sum differ. The first key of all may
// come here too, and is right.
func (w *RunWriter) checkOrder(order, before uint64) {
	if before > 0 {
		w.fail(fmt.Errorf("persist: run %d: key %d, of order %#x, does not come after the one before it", w.meta.ID, before, order))
	}
}

func (w *RunWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// advance ends the block under way and the empty ones before block b.
func (w *RunWriter) advance(b uint32) {
	for w.err == nil && w.block < b {
		w.endBlock()
		w.block++
	}
	if w.err != nil {
		w.buf, w.start = w.buf[:0], 0 // keep a failed writer from growing
		w.block = b
	}
}

// endBlock ends the block under way with its checksum; when the value would
// become too long, the blocks before it are stored.
func (w *RunWriter) endBlock() {
	w.buf = binary.LittleEndian.AppendUint32(w.buf, checksum(w.buf[w.start:]))
	if len(w.buf) > w.limit && w.start > 0 {
		w.store(w.start)
	}
	w.start = len(w.buf)
	end := w.base + uint64(w.start)
	if end > maxRunBytes {
		w.fail(fmt.Errorf("persist: run %d: more than 4 GiB", w.meta.ID))
		return
	}
	w.index = append(w.index, uint32(end))
}

// store writes the first n bytes of buf, which are whole blocks, as the next value. A block
// never lies in two values, so a look-up needs one slice.
func (w *RunWriter) store(n int) {
	value := w.buf[:n]
	m := ValueMeta{Bytes: uint32(n), CRC: checksum(value)}
	if err := w.put(uint32(len(w.meta.Values)), value); err != nil {
		w.fail(err)
		return
	}
	w.meta.Values = append(w.meta.Values, m)
	w.base += uint64(n)
	w.buf = w.buf[:copy(w.buf, w.buf[n:])]
	w.start = max(w.start-n, 0)
}

func (w *RunWriter) put(number uint32, value []byte) error {
	if !w.seg.pins.pin() {
		return ErrRetired
	}
	defer w.seg.pins.unpin()
	err := w.seg.store.put(valueKey(w.meta.ID, number), value, w.toCome()+w.follow)
	if errors.Is(err, errNotPut) {
		return fmt.Errorf("persist: run %d of segment %s, a value of %d bytes: %w", w.meta.ID, w.seg.path, len(value), vfs.DiskFull(err))
	}
	if err != nil {
		return fmt.Errorf("persist: writing run %d of segment %s: %w: %w", w.meta.ID, w.seg.path, dedup.ErrFailed, vfs.DiskFull(err))
	}
	w.seg.bytes.Add(int64(len(value)))
	return nil
}

// toCome estimates how many bytes the keys to come will take, by those before them. It is a
// hint for how much of the file's hole is filled at once.
func (w *RunWriter) toCome() int64 {
	if w.closed || w.meta.Keys == 0 || w.meta.Keys > w.max {
		return 0
	}
	return int64(float64(w.base+uint64(len(w.buf))) / float64(w.meta.Keys) * float64(w.max-w.meta.Keys))
}

// Finish writes what is left and the index, and returns the run, ready to be read. It is
// durable after Segment.Sync. The caller must have checked the free space, since Badger dies
// of a full disk. A failed write wraps dedup.ErrFailed. A value for which there is no room, or
// which the disk refuses before Badger has it, gives dedup.ErrDiskFull or the disk's error;
// other errors are the caller's mistakes.
func (w *RunWriter) Finish() (*Run, error) {
	if w.closed {
		return nil, fmt.Errorf("persist: run %d was finished already", w.meta.ID)
	}
	w.closed = true
	w.addFew()
	if w.meta.Keys > w.max {
		w.fail(fmt.Errorf("persist: run %d: %d keys, %d were announced", w.meta.ID, w.meta.Keys, w.max))
	}
	w.advance(w.meta.Blocks)
	if w.err == nil {
		w.store(len(w.buf))
	}
	if w.err == nil {
		w.storeIndex()
	}
	if w.err != nil {
		return nil, w.err
	}
	// Opened as a later opening would open it: a run that was not stored right is noticed
	// while the journal still has its frames.
	r, err := w.seg.openRun(w.meta)
	if err == nil {
		err = r.unmapWritten()
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (w *RunWriter) storeIndex() {
	p := w.buf[:0]
	for _, offset := range w.index {
		p = binary.LittleEndian.AppendUint32(p, offset)
	}
	w.meta.Index = ValueMeta{Bytes: uint32(len(p)), CRC: checksum(p)}
	if err := w.put(indexNumber, p); err != nil {
		w.fail(err)
	}
	w.buf = nil
}
