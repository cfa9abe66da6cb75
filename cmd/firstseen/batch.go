package main

import (
	"context"
	"fmt"
	"io"

	"github.com/firstseen/firstseen/internal/record"
)

const (
	// batchRecords and batchBytes bound a batch: what a run that is killed can
	// write twice, and what one wait for the disk pays for. A batch exceeds
	// batchBytes only by its last record.
	batchRecords = 4096
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

	header    []byte // to be written before the records; nil: none
	headerLen int    // bytes of the input's header, written or not

	from     string // the input's name
	first    uint64 // number of the first record in it, from 1
	err      error  // why nothing follows, nil when more does or all is read
	unclosed bool   // the last record is CSV that ends inside quotes
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
	var ok bool
	if b.keyData, ok = key.Append(b.keyData, rec); !ok || unclosed {
		// An unclosed record swallowed what follows its quote: to drop it for
		// the sake of its first field would lose all of that.
		b.keyData = b.keyData[:from]
		b.keyOf = append(b.keyOf, noKey)
		return
	}
	b.keyOf = append(b.keyOf, int32(len(b.keys)))
	b.keys = append(b.keys, b.keyData[from:len(b.keyData):len(b.keyData)])
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
				err = f.headers.read(r, b)
			}
		}
		for err == nil && (len(b.ends)+b.headerLen == 0 || !b.full() && r.Ready()) {
			var rec []byte
			if rec, err = r.Next(); err == nil {
				b.unclosed = r.Unclosed()
				b.add(rec, f.key, b.unclosed)
			}
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
