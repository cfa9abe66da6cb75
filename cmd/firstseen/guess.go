package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/record"
)

const (
	// sampleBytes of the first file tell how long its records and keys are.
	sampleBytes = 256 << 10
	// minCapacity and maxCapacity bound a guess: below nothing is saved, and above
	// the records are hardly all different.
	minCapacity, maxCapacity = 10_000, 1 << 32
)

// guess returns how many records the inputs have, and how long their keys are, going
// by their size and the beginning of the first one. It returns 0 when the size of one
// is not known.
func guess(inputs []*input, key record.Key) (records uint64, keyBytes int) {
	total := totalSize(inputs)
	if total <= 0 {
		return 0, 0
	}
	for _, in := range inputs {
		if in.size == 0 {
			continue
		}
		packed := in.beginning(sampleBytes)
		n, keyBytes := sample(packed, key)
		if n == 0 {
			return 0, 0
		}
		perByte := float64(n) / float64(len(packed))
		records = uint64(min(max(perByte*float64(total), minCapacity), maxCapacity))
		return records, keyBytes
	}
	return 0, 0
}

// beginning returns up to n bytes of a file, which is read from where it was anyway.
func (in *input) beginning(n int) []byte {
	file, at := in.file, int64(0)
	if file == nil {
		var err error
		if file, err = os.Open(in.path); err != nil {
			return nil
		}
		defer file.Close()
	} else if at0, err := file.Seek(0, io.SeekCurrent); err == nil {
		at = at0
	}
	buf := make([]byte, n)
	n, _ = file.ReadAt(buf, at)
	return buf[:n]
}

// sample counts the records in the beginning of a file, and returns how long their
// keys usually are, 0 if there are none.
func sample(packed []byte, key record.Key) (records, keyBytes int) {
	src, err := decompressed(bytes.NewReader(packed))
	if err != nil {
		return 0, 0
	}
	defer src.Close()
	r := record.NewReader(src, key.Format())
	var buf []byte
	var keys int
	if key.NeedsHeader() {
		rec, err := r.Next()
		if err != nil {
			return 0, 0
		}
		if key, err = key.Resolve(rec); err != nil {
			return 0, 0
		}
	}
	for {
		rec, err := r.Next()
		if err != nil {
			return records, min((keyBytes+keys/2)/max(keys, 1), dedup.MaxKeyLen)
		}
		records++
		if buf, err = key.Append(buf[:0], rec); err == nil {
			keyBytes += len(buf)
			keys++
		}
	}
}

// existingParent returns dir, or the nearest directory above it that exists.
func existingParent(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return dir
		}
		dir = parent
	}
}
