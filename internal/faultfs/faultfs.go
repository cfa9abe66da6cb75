package faultfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/firstseen/firstseen/internal/vfs"
)

// Op is one operation that changes something.
type Op struct {
	Kind string // create, write, truncate, sync, rename, remove, mkdir, syncdir
	Name string
	Off  int64 // of a write, or the size of a truncate
	Len  int   // of a write
}

// FS is the file system. The zero value is not ready; see New.
type FS struct {
	mu struct {
		sync.Mutex
		names   map[string]*inode // what readers see
		durable map[string]*inode // what a power cut leaves at least
		changes []change          // of entries, not yet synced
		ops     []Op
		fail    failure
		hook    func(Op)
	}
}

// inode is a file or a directory, whatever names it has.
type inode struct {
	dir  bool
	data []byte
	// safe is the content that was synced; dirty the pages in which data differs
	// from it; lost those among them that a failed sync gave up on.
	safe  []byte
	dirty map[int64]bool
	lost  map[int64]bool
}

// change is one unsynced change of a directory: name now means node, nil for a
// removal. A rename is one change of two names.
type change struct {
	dir     string
	name    string
	node    *inode
	renamed string // the old name of a rename
}

type failure struct {
	in     int64 // operations until it, 0: none is planned
	err    error
	sticky bool
}

// New returns an empty file system with a durable root directory, and "." too.
func New() *FS {
	f := &FS{}
	f.mu.names, f.mu.durable = map[string]*inode{}, map[string]*inode{}
	for _, root := range []string{"/", "."} {
		n := &inode{dir: true}
		f.mu.names[root], f.mu.durable[root] = n, n
	}
	return f
}

var _ vfs.FS = (*FS)(nil)

// FailAt makes the n-th changing operation from now on fail with err: 1 is the
// next. With sticky set all after it fail too. A write that fails has written
// half of its bytes, a sync that fails any of its pages, the others change
// nothing. n = 0 ends all failing.
func (f *FS) FailAt(n int64, err error, sticky bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.fail = failure{n, err, sticky}
}

// Ops returns the number of changing operations so far, failed ones included.
func (f *FS) Ops() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.mu.ops))
}

// Trace returns the changing operations so far.
func (f *FS) Trace() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.mu.ops)
}

// Delay sets a function that is called before each changing operation, without a
// lock held: one that waits for a channel makes a slow disk. nil ends it.
func (f *FS) Delay(hook func(Op)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.hook = hook
}

// begin counts an operation and takes the lock. The error is the planned one.
func (f *FS) begin(op Op) error {
	f.mu.Lock()
	if hook := f.mu.hook; hook != nil {
		f.mu.Unlock()
		hook(op)
		f.mu.Lock()
	}
	f.mu.ops = append(f.mu.ops, op)
	fail := &f.mu.fail
	if fail.in == 0 {
		return nil
	}
	if fail.in > 1 {
		fail.in--
		return nil
	}
	if !fail.sticky {
		fail.in = 0
	}
	return &fs.PathError{Op: op.Kind, Path: op.Name, Err: fail.err}
}

func (f *FS) change(c change) {
	c.dir = filepath.Dir(c.name)
	if c.node == nil {
		delete(f.mu.names, c.name)
	} else {
		f.mu.names[c.name] = c.node
	}
	if c.renamed != "" {
		delete(f.mu.names, c.renamed)
	}
	f.mu.changes = append(f.mu.changes, c)
}

// apply makes a change durable in entries.
func (c change) apply(entries map[string]*inode) {
	if c.node == nil {
		delete(entries, c.name)
	} else {
		entries[c.name] = c.node
	}
	if c.renamed != "" && entries[c.renamed] == c.node {
		delete(entries, c.renamed)
	}
}

// OpenFile implements vfs.FS.
func (f *FS) OpenFile(name string, flag int, _ fs.FileMode) (vfs.File, error) {
	name = filepath.Clean(name)
	f.mu.Lock()
	n := f.mu.names[name]
	parent := f.mu.names[filepath.Dir(name)]
	f.mu.Unlock()
	switch {
	case n != nil && (n.dir || flag&os.O_EXCL != 0):
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case n == nil && (flag&os.O_CREATE == 0 || parent == nil):
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case n == nil:
		err := f.begin(Op{Kind: "create", Name: name})
		defer f.mu.Unlock()
		if err != nil {
			return nil, err
		}
		n = &inode{dirty: map[int64]bool{}, lost: map[int64]bool{}}
		f.change(change{name: name, node: n})
	case flag&os.O_TRUNC != 0:
		h := &file{f, n, name}
		if err := h.Truncate(0); err != nil {
			return nil, err
		}
	}
	return &file{f, n, name}, nil
}

// Rename implements vfs.FS.
func (f *FS) Rename(oldName, newName string) error {
	oldName, newName = filepath.Clean(oldName), filepath.Clean(newName)
	err := f.begin(Op{Kind: "rename", Name: newName})
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	n := f.mu.names[oldName]
	if n == nil || n.dir {
		return &fs.PathError{Op: "rename", Path: oldName, Err: fs.ErrNotExist}
	}
	f.change(change{name: newName, node: n, renamed: oldName})
	return nil
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	name = filepath.Clean(name)
	err := f.begin(Op{Kind: "remove", Name: name})
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	if f.mu.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	f.change(change{name: name})
	return nil
}

// MkdirAll implements vfs.FS.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	name = filepath.Clean(name)
	f.mu.Lock()
	n := f.mu.names[name]
	f.mu.Unlock()
	if n != nil {
		return nil
	}
	if err := f.MkdirAll(filepath.Dir(name), perm); err != nil {
		return err
	}
	err := f.begin(Op{Kind: "mkdir", Name: name})
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	f.change(change{name: name, node: &inode{dir: true}})
	return nil
}

// SyncDir implements vfs.FS.
func (f *FS) SyncDir(name string) error {
	name = filepath.Clean(name)
	err := f.begin(Op{Kind: "syncdir", Name: name})
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	var rest []change
	for _, c := range f.mu.changes {
		// A rename from another directory counts for both.
		if c.dir == name || c.renamed != "" && filepath.Dir(c.renamed) == name {
			c.apply(f.mu.durable)
		} else {
			rest = append(rest, c)
		}
	}
	f.mu.changes = rest
	return nil
}

// ReadDir implements vfs.FS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.mu.names[name]; n == nil || !n.dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	var entries []fs.DirEntry
	for at, n := range f.mu.names {
		if at != name && filepath.Dir(at) == name {
			entries = append(entries, fs.FileInfoToDirEntry(info{filepath.Base(at), n.dir, int64(len(n.data))}))
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// Stat implements vfs.FS.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.mu.names[name]
	if n == nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return info{filepath.Base(name), n.dir, int64(len(n.data))}, nil
}

type info struct {
	name string
	dir  bool
	size int64
}

func (i info) Name() string     { return i.name }
func (i info) Size() int64      { return i.size }
func (i info) IsDir() bool      { return i.dir }
func (info) ModTime() time.Time { return time.Time{} }
func (info) Sys() any           { return nil }

func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
