package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// An input is a file or standard input.
type input struct {
	name string // for messages
	path string // "" for standard input
	file *os.File
	info os.FileInfo
	size int64 // bytes to read, -1 when not known

	first bool // of all inputs
}

// findInputs checks the files of the command line, so that a mistyped name ends
// the run before it begins. No file, or "-", is standard input.
func (a *app) findInputs(paths []string) ([]*input, error) {
	stdin := a.in
	if len(paths) == 0 {
		paths = []string{"-"}
	}
	inputs := make([]*input, len(paths))
	for i, path := range paths {
		in := &input{name: path, path: path, size: -1, first: i == 0}
		inputs[i] = in
		var err error
		if path == "-" {
			in.name, in.path, in.file = "standard input", "", stdin
			if isClosed(stdin) {
				return nil, errors.New("standard input is closed; name a file, or '< /dev/null' for no records")
			}
			in.info, err = stdin.Stat()
		} else {
			in.info, err = os.Stat(path)
		}
		if err != nil {
			return nil, fmt.Errorf("the input can't be read: %w; check the name", err)
		}
		if in.info.IsDir() {
			return nil, fmt.Errorf("%s is a directory; name the files in it", in.name)
		}
		if in.info.Mode().IsRegular() {
			in.size = in.info.Size()
			if in.file != nil {
				if at, err := in.file.Seek(0, io.SeekCurrent); err == nil {
					in.size -= at
				}
			}
		}
	}
	return inputs, nil
}

// totalSize returns the bytes of all inputs, or -1 when one of them is not known.
func totalSize(inputs []*input) int64 {
	var total int64
	for _, in := range inputs {
		if in.size < 0 {
			return -1
		}
		total += in.size
	}
	return total
}

// open opens the input for reading, unpacked; standard input is left open by Close.
func (in *input) open() (*source, error) {
	file := in.file
	if file == nil {
		var err error
		if file, err = os.Open(in.path); err != nil {
			return nil, fmt.Errorf("the input can't be opened: %w", err)
		}
	}
	s := &source{file: file, keep: in.file != nil}
	r, err := decompressed(s.counted())
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	s.ReadCloser = r
	return s, nil
}

// A source gives what an input holds.
type source struct {
	io.ReadCloser // of what was unpacked
	file          *os.File
	keep          bool // the file is not ours to close
	read          int64
}

// counted reads the file and counts its bytes.
func (s *source) counted() io.Reader { return (*fileCount)(s) }

type fileCount source

func (c *fileCount) Read(b []byte) (int, error) {
	n, err := c.file.Read(b)
	c.read += int64(n)
	return n, err
}

// Close closes the file and what unpacks it.
func (s *source) Close() error {
	if s.ReadCloser != nil {
		_ = s.ReadCloser.Close()
	}
	if s.keep {
		return nil
	}
	return s.file.Close()
}

// checkLoops refuses an output that is also an input or the other output:
// reading what one has just written never ends, and two writers of one file
// destroy each other's records. Only regular files can do that.
func checkLoops(inputs []*input, stdout *os.File, duplicates string) error {
	out, err := stdout.Stat()
	if err != nil {
		return fmt.Errorf("standard output can't be used: %w", err)
	}
	dup, err := os.Stat(duplicates)
	hasDup := duplicates != "" && duplicates != "-" && err == nil && dup.Mode().IsRegular()
	for _, in := range inputs {
		if !in.info.Mode().IsRegular() {
			continue
		}
		if os.SameFile(in.info, out) {
			return fmt.Errorf("%s is also the output; write to another file", in.name)
		}
		if hasDup && os.SameFile(in.info, dup) {
			return usagef("--duplicates %s is also an input; name another file", duplicates)
		}
	}
	if hasDup && os.SameFile(out, dup) {
		return usagef("--duplicates %s is also the output; name another file", duplicates)
	}
	return nil
}
