package version

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/firstseen/firstseen/dedup"
)

const (
	promiseName  = "PROMISE"
	promiseMagic = "FSVERS01"
	slotSize     = 512 // a sector: a torn write of one slot leaves the other alone
	totalsSize   = 3*8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// totals say what a complete store holds.
type totals struct {
	txns     uint64 // transactions so far
	entities uint64
	sum      uint64 // of the hashes of all keys with their versions
}

func (t totals) encode() []byte {
	b := make([]byte, 0, totalsSize)
	b = binary.BigEndian.AppendUint64(b, t.txns)
	b = binary.BigEndian.AppendUint64(b, t.entities)
	b = binary.BigEndian.AppendUint64(b, t.sum)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeTotals(b []byte) (totals, error) {
	if len(b) != totalsSize || crc32.Checksum(b[:24], castagnoli) != binary.BigEndian.Uint32(b[24:]) {
		return totals{}, errors.New("totals of wrong length or checksum")
	}
	return totals{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}, nil
}

// A promise is the file that says what the database has to hold at least.
type promise struct {
	file *os.File
	last totals
}

// openPromise opens the file of an existing store. fs.ErrNotExist says that
// there is none.
func openPromise(dir string) (*promise, error) {
	path := filepath.Join(dir, promiseName)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	p, found := &promise{file: f}, false
	for slot := range int64(2) {
		b := make([]byte, len(promiseMagic)+totalsSize)
		if _, err := f.ReadAt(b, slot*slotSize); err != nil || string(b[:len(promiseMagic)]) != promiseMagic {
			continue // an unused slot, or a damaged one
		}
		if t, err := decodeTotals(b[len(promiseMagic):]); err == nil && (!found || t.txns > p.last.txns) {
			p.last, found = t, true
		}
	}
	if !found {
		return nil, errors.Join(&dedup.CorruptError{File: path, Offset: 0, Detail: "neither slot is readable"}, f.Close())
	}
	return p, nil
}

// createPromise makes the file of an empty store, durably.
func createPromise(dir string) (*promise, error) {
	path := filepath.Join(dir, promiseName)
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	p := &promise{file: f}
	err = f.Truncate(2 * slotSize)
	if err == nil {
		err = p.keep(totals{})
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return p, nil
}

// keep writes t to the slot that is not the last one's, and syncs it.
func (p *promise) keep(t totals) error {
	b := append([]byte(promiseMagic), t.encode()...)
	if _, err := p.file.WriteAt(b, int64(t.txns%2)*slotSize); err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	p.last = t
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// isEmpty says whether dir is absent or has nothing in it but what a crash in
// createPromise left.
func isEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	for _, e := range entries {
		if e.Name() != promiseName+".new" {
			return false, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("listing it: %w", err)
	}
	return true, nil
}
