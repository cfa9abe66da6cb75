package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// outputSize is the buffer of an output. Spans longer than it go to the file
// without a copy.
const outputSize = 256 << 10

// An output writes records to a file, or nowhere, and knows whether the last one was whole.
type output struct {
	name string
	file *os.File // nil: nowhere
	w    *bufio.Writer
	sync bool // the file is on the disk when flush returns
	new  bool // something was written since the last flush
	open bool // the last record has no end
	end  byte // of a record
	bom  bool // a byte order mark comes before the first record

	follows bool // records of an earlier run: neither mark nor header comes again
}

// newOutput returns an output to file. With sync, a regular file is synced by
// flush.
func newOutput(name string, file *os.File, end byte, sync bool) *output {
	if sync {
		info, err := file.Stat()
		sync = err == nil && info.Mode().IsRegular()
	}
	return &output{name: name, file: file, w: bufio.NewWriterSize(file, outputSize), end: end, sync: sync}
}

// write buffers whole records, of which only the last can lack its line end.
// Errors come from flush.
func (o *output) write(records []byte) {
	if len(records) == 0 || o.file == nil {
		return
	}
	if o.bom {
		o.bom = false
		_, _ = o.w.WriteString("\ufeff")
	}
	if o.open {
		// An input ended without a record's end and another one follows: without
		// this the two records would become one.
		_ = o.w.WriteByte(o.end)
	}
	_, _ = o.w.Write(records)
	o.new = true
	o.open = records[len(records)-1] != o.end
}

// flush hands everything to the kernel, and to the disk where asked.
func (o *output) flush() error {
	if !o.new {
		return nil
	}
	o.new = false
	err := o.w.Flush()
	if err == nil && o.sync {
		err = o.file.Sync()
	}
	if err != nil {
		return &writeError{to: o, err: err}
	}
	return nil
}

// follow has what is written follow the records that the file holds.
func (o *output) follow() error {
	info, err := o.file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := o.file.ReadAt(last, info.Size()-1); err != nil {
		return fmt.Errorf("the file for duplicates can't be read: %w", err)
	}
	o.open, o.follows = last[0] != o.end, true
	return nil
}

// broken reports whether err says that nobody reads this output any more.
func (o *output) broken(err error) bool {
	var w *writeError
	return errors.As(err, &w) && w.to == o && errors.Is(w, syscall.EPIPE)
}

// A writeError says that an output did not take its records.
type writeError struct {
	to  *output
	err error
}

func (e *writeError) Error() string {
	return fmt.Sprintf("%s can't be written: %v; what was not written is not remembered, so run this again", e.to.name, e.err)
}

func (e *writeError) Unwrap() error { return e.err }
