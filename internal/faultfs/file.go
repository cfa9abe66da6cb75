package faultfs

import (
	"fmt"
	"io"
	"io/fs"
)

const pageLen = 4096

// file is an open file.
type file struct {
	fs   *FS
	node *inode
	name string
}

func (h *file) ReadAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: h.name, Err: fmt.Errorf("offset %d", off)}
	}
	if off >= int64(len(h.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *file) WriteAt(p []byte, off int64) (int, error) {
	err := h.fs.begin(Op{Kind: "write", Name: h.name, Off: off, Len: len(p)})
	defer h.fs.mu.Unlock()
	if err != nil {
		p = p[:len(p)/2]
	}
	n := h.node
	if need := off + int64(len(p)); need > int64(len(n.data)) && len(p) > 0 {
		n.data = append(n.data, make([]byte, need-int64(len(n.data)))...)
	}
	copy(n.data[min(off, int64(len(n.data))):], p)
	for page := off / pageLen; len(p) > 0 && page <= (off+int64(len(p))-1)/pageLen; page++ {
		n.dirty[page] = true
		delete(n.lost, page) // written anew, so the next sync writes it
	}
	return len(p), err
}

// Sync makes the content durable. Where it fails by plan, the pages stay as they
// were in doubt, and no later Sync writes them.
func (h *file) Sync() error {
	err := h.fs.begin(Op{Kind: "sync", Name: h.name})
	defer h.fs.mu.Unlock()
	n := h.node
	if err != nil {
		for page := range n.dirty {
			n.lost[page] = true
		}
		return err
	}
	n.safe = resize(n.safe, len(n.data))
	for page := range n.dirty {
		if !n.lost[page] {
			n.keep(n.safe, page)
			delete(n.dirty, page)
		}
	}
	return nil
}

// keep copies one page of the content to a copy of the file of the same length.
func (n *inode) keep(to []byte, page int64) {
	from := page * pageLen
	if from < int64(len(n.data)) && from < int64(len(to)) {
		copy(to[from:], n.data[from:min(from+pageLen, int64(len(n.data)))])
	}
}

func resize(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

func (h *file) Truncate(size int64) error {
	err := h.fs.begin(Op{Kind: "truncate", Name: h.name, Off: size})
	defer h.fs.mu.Unlock()
	if err != nil {
		return err
	}
	n := h.node
	for page := size / pageLen; page*pageLen < int64(len(n.data)); page++ {
		n.dirty[page] = true // what was cut off may come back until it is synced
		delete(n.lost, page)
	}
	n.data = resize(n.data, int(size))
	return nil
}

func (h *file) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return int64(len(h.node.data)), nil
}

// Map gives nothing: stores to memory could not be failed.
func (h *file) Map(int64) ([]byte, error) { return nil, nil }

func (h *file) Unmap([]byte) error { return nil }

func (h *file) Close() error { return nil }
