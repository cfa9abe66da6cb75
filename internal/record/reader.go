package record

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// A Format says where a record ends. The zero value is lines.
type Format struct {
	// CSV: an end within a quoted field is none (RFC 4180). A field is quoted when
	// its first byte is a quote.
	CSV bool
	// Delimiter ends a field of CSV.
	Delimiter byte
	// NUL: a record ends with a zero byte instead of a line feed. A carriage return
	// before either is part of the record like any other byte.
	NUL bool
}

// End is the byte that ends a record.
func (f Format) End() byte {
	if f.NUL {
		return 0
	}
	return '\n'
}

// bom is what some programs write in front of UTF-8.
const bom = "\ufeff"

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
	f     Format

	buf        []byte // buf[start:end] is read and not yet given out
	start, end int
	scanned    int      // buf[start:scanned] holds no record's end
	state      csvState // of the CSV scan at scanned
	next       int      // length of the record at start, 0 when not yet found
	err        error    // of src, reported once everything before it is given out

	records uint64
	offset  int64
	begun   bool // the beginning was looked at
	bom     bool // it was a byte order mark
	open    bool // the last record given out ended inside quotes
}

// NewReader returns a Reader of the records of src.
func NewReader(src io.Reader, f Format) *Reader {
	return &Reader{src: src, f: f, limit: MaxLen, buf: make([]byte, readSize)}
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
	if len(rec) > r.limit+1 || len(rec) > r.limit && rec[len(rec)-1] != r.f.End() {
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

// BOM reports whether the stream began with a byte order mark, which is in no record.
// It is known with the first record.
func (r *Reader) BOM() bool { return r.bom }

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
	if !r.begun && !r.begin() {
		return false
	}
	tail := r.buf[r.scanned:r.end]
	var i int
	if r.f.CSV {
		i, r.state = scanCSV(tail, r.state, r.scanned == r.start, r.f.Delimiter, r.f.End())
	} else {
		i = bytes.IndexByte(tail, r.f.End())
	}
	if i < 0 {
		r.scanned = r.end
		return false
	}
	r.next = r.scanned + i + 1 - r.start
	return true
}

// begin takes a byte order mark off the beginning. It reports false when too little
// is buffered to tell.
func (r *Reader) begin() bool {
	b := r.buf[r.start:r.end]
	if len(b) < len(bom) && r.err == nil && strings.HasPrefix(bom, string(b)) {
		return false
	}
	if r.bom = bytes.HasPrefix(b, []byte(bom)); r.bom {
		r.start += len(bom)
		r.scanned = r.start
		r.offset += int64(len(bom))
	}
	r.begun = true
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
