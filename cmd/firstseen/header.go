package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/firstseen/firstseen/internal/record"
)

// headers are the first records of inputs, of which the first one stands for all.
type headers struct {
	first []byte
	name  string // of the input that has it
}

// read takes the header off an input: the first one goes with the input's first batch.
// It returns key with the columns that the header gives to its names.
func (h *headers) read(r *record.Reader, b *batch, key record.Key) (record.Key, error) {
	rec, err := r.Next()
	if err != nil {
		return key, err
	}
	b.headerLen = len(rec)
	b.first++
	if r.Unclosed() {
		return key, errors.New("its header opens a quote that does not close")
	}
	if h.first == nil {
		h.first, h.name = bytes.Clone(rec), b.from
		b.header = h.first
	} else if !bytes.Equal(columns(rec), columns(h.first)) {
		return key, fmt.Errorf("its header is not that of %s", h.name)
	}
	return key.Resolve(rec)
}

// columns is a header without its end.
func columns(header []byte) []byte { return bytes.TrimRight(header, "\r\n\x00") }

// checkHeaders compares the headers of files before the run begins, so that none of
// their records is remembered when they don't fit together.
func checkHeaders(inputs []*input, key record.Key) error {
	var h headers
	for _, in := range inputs {
		if in.file != nil || !in.info.Mode().IsRegular() {
			continue
		}
		src, err := in.open()
		if err != nil {
			return err
		}
		var b batch
		b.reset(in.name, 1)
		_, err = h.read(record.NewReader(src, key.Format()), &b, key)
		_ = src.Close()
		if err != nil && err != io.EOF {
			return fmt.Errorf("%s: %w; nothing was done", in.name, err)
		}
	}
	return nil
}
