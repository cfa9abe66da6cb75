package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/firstseen/firstseen/internal/record"
)

const (
	// batchRecords and batchBytes bound a batch: what a run that is killed can
	// write twice, and what one wait for the disk pays for. A batch exceeds
	// batchBytes only by its last record.
	batchRecords = 16_384
	batchBytes   = 1 << 20
	// batches in flight: one being read, one waiting, one being written.
	batches = 3
)

// noKey stands where a record has no key.
const noKey = -1

// A batch is some records that follow each other in one input, with their keys.
type batch struct {
	data    []byte   // the records
	ends    []int    // where each ends in data
	keyOf   []int32  // index into keys for each, or noKey
	keys    [][]byte // parts of keyData
	keyData []byte

	bom       bool   // a byte order mark stands at the beginning of all output
	header    []byte // to be written before the records; nil: none
	headerLen int    // bytes of the input's header, written or not

	from     string // the input's name
	read     int64  // bytes of the file, packed as they are, since the batch before
	first    uint64 // number of the first record in it, from 1
	err      error  // why nothing follows, nil when more does or all is read
	unclosed bool   // the last record is CSV that ends inside quotes

	lacking   error // why the first record without a key has none; nil: all have one
	nested    int   // the first record that is nested too deep, from 0
	hasNested bool
}

func (b *batch) reset(from string, first uint64) {
	*b = batch{
		data: b.data[:0], ends: b.ends[:0], keyOf: b.keyOf[:0], keys: b.keys[:0], keyData: b.keyData[:0],
		from: from, first: first,
	}
}

func (b *batch) full() bool { return len(b.ends) >= batchRecords || len(b.data) >= batchBytes }

// add appends a record and its key. Keys keep the memory they were written to
// when keyData moves, so none changes before its claim ends.
func (b *batch) add(rec []byte, key record.Key, unclosed bool) {
	b.data = append(b.data, rec...)
	b.ends = append(b.ends, len(b.data))
	from := len(b.keyData)
	var why error
	if b.keyData, why = key.Append(b.keyData, rec); why == nil && unclosed {
		// It swallowed what follows its quote: to drop it for the sake of its first
		// field would lose all of that.
		b.keyData, why = b.keyData[:from], errUnclosed
	}
	if why != nil {
		b.lack(why)
		return
	}
	b.keyOf = append(b.keyOf, int32(len(b.keys)))
	b.keys = append(b.keys, b.keyData[from:len(b.keyData):len(b.keyData)])
}

var errUnclosed = errors.New("it opens a quote that does not close")

// lack notes that the record that was added last has no key.
func (b *batch) lack(why error) {
	b.keyOf = append(b.keyOf, noKey)
	if b.lacking == nil {
		b.lacking = why
	}
	if !b.hasNested && errors.Is(why, record.ErrNested) {
		b.nested, b.hasNested = len(b.keyOf)-1, true
	}
}

// cut takes record n and all after it away.
func (b *batch) cut(n int) {
	for _, k := range b.keyOf[n:] {
		if k != noKey {
			b.keys = b.keys[:k]
			break
		}
	}
	b.ends, b.keyOf = b.ends[:n], b.keyOf[:n]
	b.data = b.data[:b.start(n)]
}

// start returns where record i begins in data.
func (b *batch) start(i int) int {
	if i == 0 {
		return 0
	}
	return b.ends[i-1]
}

// A feeder cuts inputs into batches.
type feeder struct {
	inputs  []*input
	key     record.Key
	headers *headers    // nil: inputs have none
	full    chan *batch // closed after the last one
	free    chan *batch
}

// feed starts the goroutine that reads the inputs. It stops when ctx ends, at
// the latest with the process: nothing ends a read of a terminal or a pipe.
func feed(ctx context.Context, inputs []*input, key record.Key, headers *headers) *feeder {
	f := &feeder{inputs: inputs, key: key, headers: headers, full: make(chan *batch, batches), free: make(chan *batch, batches)}
	for range batches {
		f.free <- new(batch)
	}
	go func() {
		defer close(f.full)
		for _, in := range f.inputs {
			if !f.read(ctx, in) {
				return
			}
		}
	}()
	return f
}

// read sends the records of one input and reports whether to go on with the
// next one. A batch ends where the input has no complete record ready, so that
// what a slow writer sent is passed on at once, and it ends with its input, so
// that only its last record can lack a line end.
func (f *feeder) read(ctx context.Context, in *input) bool {
	src, err := in.open()
	if err == nil {
		defer src.Close()
	}
	var r *record.Reader
	var told int64 // bytes of the file that batches have told of
	key := f.key
	for first := uint64(1); ; first = r.Records() + 1 {
		var b *batch
		select {
		case b = <-f.free:
		case <-ctx.Done():
			return false
		}
		b.reset(in.name, first)
		if r == nil && err == nil {
			r = record.NewReader(src, f.key.Format())
			if f.headers != nil {
				key, err = f.headers.read(r, b, f.key)
			}
		}
		for err == nil && (len(b.ends)+b.headerLen == 0 || !b.full() && r.Ready()) {
			var rec []byte
			if rec, err = r.Next(); err == nil {
				b.unclosed = r.Unclosed()
				b.add(rec, key, b.unclosed)
			}
		}
		if r != nil {
			b.bom = in.first && r.BOM()
			b.read, told = src.read-told, src.read
		}
		if err != nil && err != io.EOF {
			b.err = fmt.Errorf("%s: %w", in.name, err)
		}
		f.full <- b // has room for all batches there are
		if err != nil {
			return err == io.EOF
		}
	}
}
