package faultfs

import (
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
)

// Crash returns the file system as a power cut now would leave it: of what was
// not synced, each page and each change of a directory is kept with the given
// chance in percent, drawn from seed. 0 keeps what is safe only, 100 everything.
// f itself stays as it is.
func (f *FS) Crash(percent int, seed uint64) *FS {
	rng := rand.New(rand.NewPCG(seed, 0xfa17f5))
	return f.CrashFunc(func(string, int64) bool { return rng.IntN(100) < percent })
}

// CrashFunc is Crash with a choice of the caller's. keep is asked for each
// unsynced page of a file that is still there (page counts in 4 KiB from 0), and
// for each unsynced change of a directory with the entry's name and page -1.
func (f *FS) CrashFunc(keep func(name string, page int64) bool) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries := maps.Clone(f.mu.durable)
	for _, c := range f.mu.changes {
		if keep(c.name, -1) {
			c.apply(entries)
		}
	}
	after := New()
	done := map[*inode]*inode{}
	// Sorted, so that a seed gives the same state each time.
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if !reachable(entries, name) {
			continue
		}
		n := entries[name]
		if done[n] == nil {
			done[n] = n.crash(func(page int64) bool { return keep(name, page) })
		}
		after.mu.names[name], after.mu.durable[name] = done[n], done[n]
	}
	return after
}

// reachable tells whether all directories above a name are there.
func reachable(entries map[string]*inode, name string) bool {
	for name != "/" && name != "." {
		name = filepath.Dir(name)
		if n := entries[name]; n == nil || !n.dir {
			return false
		}
	}
	return true
}

func (n *inode) crash(keep func(page int64) bool) *inode {
	after := &inode{dir: n.dir, dirty: map[int64]bool{}, lost: map[int64]bool{}}
	if n.dir {
		return after
	}
	after.data = slices.Clone(n.safe)
	if len(n.data) < len(n.safe) && keep(-1) {
		after.data = after.data[:len(n.data)]
	}
	for _, page := range slices.Sorted(maps.Keys(n.dirty)) {
		if !keep(page) {
			continue
		}
		// A page beyond the synced length brings the length with it.
		if end := int(min((page+1)*pageLen, int64(len(n.data)))); end > len(after.data) {
			after.data = resize(after.data, end)
		}
		n.keep(after.data, page)
	}
	after.safe = slices.Clone(after.data)
	return after
}
