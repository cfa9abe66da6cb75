package record

import (
	"bytes"
	"fmt"
	"io"
)

// A Format says where a record ends.
type Format uint8

const (
	// Lines: a record ends with a line feed. A carriage return before it is
	// part of the record like any other byte.
	Lines Format = iota
	// CSV: a record ends with a line feed that is not inside a quoted field
	// (RFC 4180). A field is quoted when its first byte is a quote.
	CSV
)

const (
	// MaxLen is the length of the longest record in bytes, its line end not
	// counted.
	MaxLen = 64 << 20
	// readSize is how much one read asks for: four times what a pipe holds, so
	// that a file costs few system calls.
	readSize = 256 << 10
	// maxEmptyReads ends the patience with a source that gives neither bytes
	// nor an error (as bufio does it).
	maxEmptyReads = 100
)

// A TooLongError says that a record is longer than the Reader allows.
type TooLongError struct {
	Record   uint64 // its number, the first is 1
	Offset   int64  // of its first byte in the stream
	Limit    int    // bytes
	InQuotes bool   // the record is CSV and a quote is open at the limit
}

func (e *TooLongError) Error() string {
	s := fmt.Sprintf("record %d, at byte %d, is longer than %d bytes", e.Record, e.Offset, e.Limit)
	if e.InQuotes {
		s += "; a quote opened in it does not close"
	}
	return s
}

// A Reader cuts a stream into records. It reads only when it holds no complete
// record, so records of a slow stream come as soon as they are there.
type Reader struct {
	src   io.Reader
	limit int
	csv   bool

	buf        []byte // buf[start:end] is read and not yet given out
	start, end int
	scanned    int      // buf[start:scanned] holds no record's end
	state      csvState // of the CSV scan at scanned
	next       int      // length of the record at start, 0 when not yet found
	err        error    // of src, reported once everything before it is given out

	records uint64
	offset  int64
	open    bool // the last record given out ended inside quotes
}

// NewReader returns a Reader of the records of src.
func NewReader(src io.Reader, f Format) *Reader {
	return &Reader{src: src, csv: f == CSV, limit: MaxLen, buf: make([]byte, readSize)}
}

// Next returns the next record with its line end. Only the last record of a
// stream can have none. The slice is valid until the next call. At the end of
// the stream the error is io.EOF; an error of the source comes after all
// records that were complete before it.
func (r *Reader) Next() ([]byte, error) {
	for !r.find() {
		if r.end-r.start > r.limit {
			return nil, r.tooLong()
		}
		if r.err != nil {
			if r.err != io.EOF || r.start == r.end {
				return nil, r.err
			}
			r.next = r.end - r.start // the last line has no end
			break
		}
		r.fill()
	}
	rec := r.buf[r.start : r.start+r.next]
	if len(rec) > r.limit+1 || len(rec) > r.limit && rec[len(rec)-1] != '\n' {
		return nil, r.tooLong()
	}
	r.open = r.state == csvQuoted // a found end leaves the state at csvField
	r.start += r.next
	r.offset += int64(r.next)
	r.records++
	r.scanned, r.next, r.state = r.start, 0, csvField
	return rec, nil
}

// Ready reports whether Next can answer without reading from the source.
func (r *Reader) Ready() bool { return r.find() || r.err != nil }

// Unclosed reports whether the record that Next gave last ended inside a quoted
// field, which only the last one of a CSV stream can.
func (r *Reader) Unclosed() bool { return r.open }

// Records returns how many records Next has given.
func (r *Reader) Records() uint64 { return r.records }

// Offset returns how many bytes of the stream the records so far have.
func (r *Reader) Offset() int64 { return r.offset }

func (r *Reader) tooLong() error {
	return &TooLongError{Record: r.records + 1, Offset: r.offset, Limit: r.limit, InQuotes: r.state == csvQuoted}
}

// find looks for the end of the record at start in what is buffered. It sees
// each byte once, however often it is called.
func (r *Reader) find() bool {
	if r.next > 0 {
		return true
	}
	tail := r.buf[r.scanned:r.end]
	var i int
	if r.csv {
		i, r.state = scanCSV(tail, r.state, r.scanned == r.start)
	} else {
		i = bytes.IndexByte(tail, '\n')
	}
	if i < 0 {
		r.scanned = r.end
		return false
	}
	r.next = r.scanned + i + 1 - r.start
	return true
}

// fill reads once, after making room.
func (r *Reader) fill() {
	if r.start == r.end {
		r.start, r.end, r.scanned = 0, 0, 0
	}
	if len(r.buf)-r.end < readSize/4 {
		r.makeRoom()
	}
	for range maxEmptyReads {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		if n > 0 || err != nil {
			r.err = err
			return
		}
	}
	r.err = io.ErrNoProgress
}

// makeRoom moves the unfinished record to the front, and doubles the buffer
// when that alone does not help: a record costs at most two copies a byte.
func (r *Reader) makeRoom() {
	to := r.buf
	if n := r.end - r.start; n > len(r.buf)/2 {
		to = make([]byte, 2*len(r.buf))
	}
	copy(to, r.buf[r.start:r.end])
	r.end, r.scanned, r.start = r.end-r.start, r.scanned-r.start, 0
	r.buf = to
}
