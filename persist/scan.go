package persist

import (
	"encoding/binary"
	"errors"

	"github.com/firstseen/firstseen/internal/vfs"
)

// A Cursor goes through the blocks of a run, in order. It holds one value at a time, copied, so
// that the caller's code runs with nothing pinned and a segment can be closed in between.
type Cursor struct {
	run   *Run
	value int // the value in buf
	buf   []byte
	next  int // the block to come
	block Block
	keys  uint64 // of the blocks so far: what the run's end compares with the description
	sum   uint64
}

// Cursor returns one at the start of the run, for a scan in several steps.
func (r *Run) Cursor() *Cursor { return &Cursor{run: r, value: -1} }

// Until gives the blocks that begin at or before an order to yield, in order, and reports
// whether there are more. As with Scan, only the end without an error makes it certain that
// these were the keys of the run.
func (c *Cursor) Until(order uint64, yield func(b *Block)) (more bool, err error) {
	last, _ := blockOf(order, c.run.meta.Blocks)
	for {
		if c.next < int(c.run.meta.Blocks) && c.next > int(last) {
			return true, nil
		}
		if more, err = c.step(); !more {
			return false, err
		}
		yield(&c.block)
	}
}

// load copies and checks a value. It asks Badger anew, although the run has the slice, so that
// damage of Badger's own entries shows too.
func (c *Cursor) load(value int) error {
	r := c.run
	m := r.meta.Values[value]
	c.value, c.buf = value, c.buf[:0]
	err := r.guarded(uint32(value), func() error {
		for _, p := range r.values[value:min(value+2, len(r.values))] { // the next one too
			vfs.AdviseNeeded(p)
		}
		p, err := r.openValue(uint32(value), m)
		c.buf = append(c.buf, p...)
		return err
	})
	if err != nil {
		return err
	}
	if got := checksum(c.buf); len(c.buf) != int(m.Bytes) || got != m.CRC {
		return r.damageIn(uint32(value), 0, "checksum %08x of %d bytes, %08x of %d expected", got, len(c.buf), m.CRC, m.Bytes)
	}
	return nil
}

// step goes to the next block. It is false at the end and on an error.
func (c *Cursor) step() (bool, error) {
	r := c.run
	if c.next == int(r.meta.Blocks) {
		if c.keys != r.meta.Keys || c.sum != r.meta.Sum {
			return false, r.damage("%d keys with sum %016x, %d with %016x expected", c.keys, c.sum, r.meta.Keys, r.meta.Sum)
		}
		return false, nil
	}
	from, to := r.index[c.next], r.index[c.next+1]
	if c.value < 0 || from >= r.starts[c.value+1] {
		if err := c.load(c.value + 1); err != nil {
			return false, err
		}
	}
	if err := c.parse(from, to); err != nil {
		return false, err
	}
	c.next++
	return true, nil
}

// parse checks the block from one offset to another and makes it the current one.
func (c *Cursor) parse(from, to uint32) error {
	r := c.run
	start := r.starts[c.value]
	p := c.buf[from-start : to-start]
	records := p[:len(p)-blockSum]
	if checksum(records) != binary.LittleEndian.Uint32(p[len(records):]) {
		return r.damageAt(uint32(c.next), "wrong checksum")
	}
	if !c.block.parse(r, uint32(c.next), records) {
		return r.damageAt(uint32(c.next), "records are malformed")
	}
	c.keys += uint64(c.block.Len())
	c.sum += c.block.sum()
	return nil
}

// Scan gives all blocks to yield, in order. The checksums of values and blocks
// are verified before their keys are given, the number and the sum of all keys
// at the end: only a nil error says that yield got exactly the keys of the run.
// An error of yield ends the scan and is returned. yield may use the segment.
func (r *Run) Scan(yield func(b *Block) error) error {
	c := r.Cursor()
	for {
		ok, err := c.step()
		if !ok {
			return err
		}
		if err := yield(&c.block); err != nil {
			return err
		}
	}
}

// Verify reads all of the run, and reports all damage that it finds (joined).
func (r *Run) Verify() error {
	_, err := r.Salvage(func(*Block) error { return nil })
	if ierr := r.verifyIndex(); ierr != nil {
		err = errors.Join(ierr, err)
	}
	return err
}

// Salvage gives the blocks that are whole to yield, in order, and returns the
// number of keys that are lost in the others, together with all damage (joined),
// or the error of yield. It is what repair keeps of a damaged run.
func (r *Run) Salvage(yield func(b *Block) error) (lost uint64, err error) {
	c := r.Cursor()
	var problems []error
	for v := range r.meta.Values {
		loadErr := c.load(v)
		if loadErr != nil {
			problems = append(problems, loadErr)
		}
		// A damaged value of the right length still has blocks that are whole, and each has a
		// checksum of its own. In one of another length the index's offsets mean nothing.
		if loadErr != nil && (!isCorrupt(loadErr) || len(c.buf) != int(r.meta.Values[v].Bytes)) {
			continue // nothing to look into
		}
		c.next = r.firstBlock(v)
		for ; c.next < int(r.meta.Blocks) && r.index[c.next] < r.starts[v+1]; c.next++ {
			if err := c.parse(r.index[c.next], r.index[c.next+1]); err != nil {
				problems = append(problems, err)
				continue
			}
			if err := yield(&c.block); err != nil {
				return 0, err
			}
		}
	}
	if c.keys > r.meta.Keys || (c.keys == r.meta.Keys && c.sum != r.meta.Sum) {
		problems = append(problems, r.damage("%d keys with sum %016x, %d with %016x expected", c.keys, c.sum, r.meta.Keys, r.meta.Sum))
	}
	if c.keys < r.meta.Keys {
		lost = r.meta.Keys - c.keys
		if len(problems) == 0 {
			problems = append(problems, r.damage("%d of %d keys are missing", lost, r.meta.Keys))
		}
	}
	return lost, errors.Join(problems...)
}

// verifyIndex checks the stored index, which nobody has read since the run was opened.
func (r *Run) verifyIndex() error {
	return r.guarded(indexNumber, func() error {
		p, err := r.openValue(indexNumber, r.meta.Index)
		vfs.AdviseNeeded(p)
		if err == nil && checksum(p) != r.meta.Index.CRC {
			err = r.damageIn(indexNumber, 0, "checksum %08x, %08x expected", checksum(p), r.meta.Index.CRC)
		}
		return err
	})
}
