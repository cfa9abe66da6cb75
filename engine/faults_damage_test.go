package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// patient is a directory that is damaged in many ways and healed after each.
type patient struct {
	p       *faultPart
	opts    config
	healthy string            // never opened
	older   string            // the same directory some flushes earlier
	durable uint64            // how far the healthy one is known to reach
	dir     string            // the one that is damaged, and opened
	sound   map[string][]byte // what belongs in it, by path; nil: a directory
	marked  [][]byte
	others  [][]byte
}

// newPatient makes a directory with two generations, several runs, snapshots and
// a journal that has to be replayed.
func newPatient(p *faultPart, mode Mode) *patient {
	clock := newFakeClock()
	dir := memoryDir(p.t, 64<<20)
	pt := &patient{p: p, healthy: dir, others: faultKeys(1e6, 40), opts: config{Options: Options{
		Window:      time.Hour,
		Capacity:    300,
		Generations: 3,
		BitsPerKey:  64,
		Shards:      1,
		Mode:        mode,
		MinFreeDisk: -1,
		Now:         clock.now,
	}, hooks: hooks{
		tableKeys: 5000,
		ringBytes: 8 << 10,
	}}}
	e := faultOpen(p.t, dir, pt.opts)
	mark := func(from, n uint64) {
		keys := faultKeys(from, n)
		if _, err := e.AdmitBatch(p.t.Context(), nil, keys); err != nil {
			p.t.Fatal(err)
		}
		pt.marked = append(pt.marked, keys...)
	}
	flush := func() {
		e.set.Seal(^uint64(0))
		e.flusher.wake()
		faultWait(p.t, "flush", func() bool { return e.Stats().Flush.UnflushedKeys == 0 || mode == Approximate })
	}
	mark(0, 60)
	flush()
	clock.advance(31 * time.Minute)
	mark(60, 20)
	flush()
	faultWait(p.t, "rotation", func() bool { return !e.rotated.Load() && len(e.Stats().Generations) == 2 })
	faultClose(p.t, e)
	pt.older = memoryDir(p.t, 64<<20)
	if err := os.CopyFS(pt.older, os.DirFS(dir)); err != nil {
		p.t.Fatal(err)
	}
	e = faultOpen(p.t, dir, pt.opts)
	mark(80, 40)
	flush()
	if err := e.Snapshot(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	mark(120, 20)
	pt.durable = e.Stats().Journal.Durable
	e.crash(p.t)
	pt.learn()
	return pt
}

// learn notes what the healthy directory holds and makes the other one.
func (pt *patient) learn() {
	pt.sound = map[string][]byte{}
	err := fs.WalkDir(os.DirFS(pt.healthy), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." || d.Name() == persist.LockName {
			return err
		}
		if d.IsDir() {
			pt.sound[path] = nil
			return nil
		}
		if d.Name() == "DISCARD" { // a megabyte of zeroes that every opening removes
			if err := os.Truncate(filepath.Join(pt.healthy, path), 4096); err != nil {
				return err
			}
		}
		content, err := os.ReadFile(filepath.Join(pt.healthy, path))
		pt.sound[path] = append([]byte{}, content...)
		return err
	})
	if err != nil {
		pt.p.t.Fatal(err)
	}
	pt.dir = memoryDir(pt.p.t, 64<<20)
	pt.heal()
}

// heal writes what is not as it should be. Reading a hundred small files takes
// less than a copy of them, and most damage is refused before more of them change.
func (pt *patient) heal() {
	heal := func(path string) error {
		want := pt.sound[path]
		full := filepath.Join(pt.dir, path)
		info, err := os.Lstat(full)
		if err == nil && info.IsDir() != (want == nil) {
			err = errors.Join(os.RemoveAll(full), fs.ErrNotExist)
		}
		if want == nil {
			if err != nil {
				return os.Mkdir(full, 0o755)
			}
			return nil
		}
		if err == nil && info.Size() == int64(len(want)) {
			if got, err := os.ReadFile(full); err == nil && bytes.Equal(got, want) {
				return nil
			}
		}
		return os.WriteFile(full, want, 0o644)
	}
	for _, path := range sortedKeys(pt.sound) { // a directory before what is in it
		if err := heal(path); err != nil {
			pt.p.t.Fatal(err)
		}
	}
	err := filepath.WalkDir(pt.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(pt.dir, path)
		if _, ok := pt.sound[rel]; ok || rel == "." || rel == persist.LockName {
			return nil
		}
		if err := os.RemoveAll(path); err != nil || !d.IsDir() {
			return err
		}
		return fs.SkipDir
	})
	if err != nil {
		pt.p.t.Fatal(err)
	}
}

func (pt *patient) names() (names []string) {
	entries, err := os.ReadDir(pt.dir)
	if err != nil {
		pt.p.t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// try damages the directory and looks what comes of it: it is refused and nothing
// of it is removed, or every answer is right or an error. damage returns false
// where there is nothing to damage.
func (pt *patient) try(what string, damage func(dir string) bool) {
	if pt.p.done() {
		return
	}
	defer pt.heal()
	if !damage(pt.dir) {
		return
	}
	pt.p.count("damages", 1)
	names := pt.names()
	e, err := openWith(pt.dir, pt.opts)
	switch {
	case errors.Is(err, dedup.ErrCorrupt) || errors.Is(err, dedup.ErrIncompatible):
		pt.p.count("refused", 1)
		left := pt.names()
		for _, name := range names {
			if !slices.Contains(left, name) {
				pt.p.errorf("%s: it was refused, and of %v %v are left", what, names, left)
			}
		}
		return
	case err != nil:
		pt.p.errorf("%s: open gives an error that is not about damage: %v", what, err)
		return
	}
	before := len(pt.p.mu.fails)
	reported := pt.p.mu.figures["answers that report damage"]
	pt.p.checkKeys(e, what, pt.marked, pt.others)
	if err := e.Close(); err != nil && !errors.Is(err, dedup.ErrCorrupt) {
		pt.p.count("closes that failed", 1)
	}
	if len(pt.p.mu.fails) == before {
		if pt.p.mu.figures["answers that report damage"] > reported {
			pt.p.count("reported by look-ups", 1)
		} else {
			pt.p.count("harmless or rebuilt", 1)
		}
	}
}

func flipBit(dir, name string, at int64, bit int) bool {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return false
	}
	b[0] ^= 1 << bit
	_, err = f.WriteAt(b[:], at)
	return err == nil
}

func fileSize(dir, name string) int64 {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	return info.Size()
}

// fileSpan is a part of a file: bytes from to below to. In the short form every
// stride-th byte is damaged in one bit. In the long form every bit of what is
// used is, and one bit of each byte of what is not.
type fileSpan struct {
	name             string
	from, to, stride int64
	used             bool
}

// exhaust flips bits of a span, one after the other.
func (pt *patient) exhaust(s fileSpan) {
	long := faultScale(0, 1) == 1
	stride := s.stride
	if long {
		stride = 1
	}
	for at := s.from; at < s.to; at += stride {
		first, last := int(at%8), int(at%8)
		if long && s.used {
			first, last = 0, 7
		}
		for bit := first; bit <= last; bit++ {
			pt.try(fmt.Sprintf("bit %d of byte %d of %s", bit, at, s.name), func(dir string) bool { return flipBit(dir, s.name, at, bit) })
			pt.p.count("bits of "+s.name, 1)
		}
	}
}

// cut cuts a file off, in the long form at every length.
func (pt *patient) cut(name string, stride int64) {
	if faultScale(0, 1) == 1 {
		stride = 1
	}
	for at := int64(0); at < fileSize(pt.healthy, name); at += stride {
		pt.try(fmt.Sprintf("%s cut to %d bytes", name, at), func(dir string) bool {
			return os.Truncate(filepath.Join(dir, name), at) == nil
		})
		pt.p.count("truncations", 1)
	}
}

func damageSmallFiles(p *faultPart) {
	for _, mode := range []Mode{Exact, Approximate} {
		pt := newPatient(p, mode)
		var (
			mark    = persist.JournalName + journal.MarkSuffix
			first   = persist.SnapshotPath("", 1)
			second  = persist.SnapshotPath("", 2)
			ring    = fileSize(pt.healthy, persist.JournalName)
			content = pt.sound[persist.JournalName]
			end     = int64(len(bytes.TrimRight(content, "\x00"))) // of the newest frame, FORMAT.md
		)
		for _, s := range []fileSpan{
			{first, 0, fileSize(pt.healthy, first), 61, true},
			{second, 0, fileSize(pt.healthy, second), 151, true},
			{persist.JournalName, 8192, end, 41, true},
			{persist.JournalName, end, ring, 97, false},
			{mark, 0, 128, 11, true},
			{mark, 128, fileSize(pt.healthy, mark), 997, false},
			{persist.JournalName, 0, 96, 13, true},
			{persist.JournalName, 96, 4092, 613, false},
			{persist.JournalName, 4092, 4096 + 96, 13, true},
			{persist.JournalName, 4096 + 96, 8188, 613, false},
			{persist.JournalName, 8188, 8192, 1, true},
			{persist.ManifestName, 0, fileSize(pt.healthy, persist.ManifestName), 7, true},
			{persist.IdentityName, 0, fileSize(pt.healthy, persist.IdentityName), 1, true},
		} {
			pt.exhaust(s)
		}
		names := []string{first, second, persist.JournalName, mark, persist.ManifestName, persist.IdentityName}
		for i, name := range names {
			pt.cut(name, max(1, fileSize(pt.healthy, name)/11))
			pt.try("no "+name, func(dir string) bool { return os.Remove(filepath.Join(dir, name)) == nil })
			for _, other := range names[:i] {
				pt.try(fmt.Sprintf("%s and %s swapped", name, other), func(dir string) bool { return swapFiles(dir, name, other) })
			}
		}
	}
}

func swapFiles(dir, one, other string) bool {
	a, b := filepath.Join(dir, one), filepath.Join(dir, other)
	return errors.Join(os.Rename(a, a+"~"), os.Rename(b, a), os.Rename(a+"~", b)) == nil
}

func TestFaultsDamageSmallFiles(t *testing.T) {
	runFaults(t, damageSmallFiles)
}

// damageAnywhere is one random damage of a random file, Badger's included.
func damageAnywhere(p *faultPart) {
	pt := newPatient(p, Exact)
	rng := rand.New(rand.NewPCG(9, 9))
	var files []string
	err := fs.WalkDir(os.DirFS(pt.healthy), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != persist.LockName {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	for before := p.mu.figures["damages"]; p.mu.figures["damages"]-before < int64(faultScale(150, 2000)) && !p.done(); {
		name, other := files[rng.IntN(len(files))], files[rng.IntN(len(files))]
		size := fileSize(pt.healthy, name)
		at := rng.Int64N(size + 1)
		if rng.IntN(3) > 0 && size > 4096 { // where something is written
			at = rng.Int64N(min(size, 6000))
		}
		path := func(dir string) string { return filepath.Join(dir, name) }
		switch rng.IntN(8) {
		case 0:
			pt.try("delete "+name, func(dir string) bool { return os.Remove(path(dir)) == nil })
		case 1:
			pt.try(fmt.Sprintf("cut %s at %d", name, at), func(dir string) bool { return os.Truncate(path(dir), at) == nil })
		case 2:
			pt.try(fmt.Sprintf("swap %s and %s", name, other), func(dir string) bool { return swapFiles(dir, name, other) })
		case 3:
			pt.try(fmt.Sprintf("zeroes in %s from %d", name, at), func(dir string) bool {
				f, err := os.OpenFile(path(dir), os.O_RDWR, 0)
				if err != nil {
					return false
				}
				_, err = f.WriteAt(make([]byte, min(512, size-at)), at)
				return errors.Join(err, f.Close()) == nil
			})
		default:
			bit := rng.IntN(8)
			pt.try(fmt.Sprintf("bit %d of byte %d of %s", bit, at, name), func(dir string) bool { return flipBit(dir, name, at, bit) })
		}
	}
}

func TestFaultsDamageAnywhere(t *testing.T) {
	runFaults(t, damageAnywhere)
}

// TestFaultsDamageBlock flips bits of the stored keys themselves, which nothing
// looks at but the block's checksum, at the look-up that needs it.
func TestFaultsDamageBlock(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		pt := newPatient(p, Exact)
		logs, err := fs.Glob(os.DirFS(pt.healthy), "seg-*/000001.vlog")
		if err != nil || len(logs) == 0 {
			p.t.Fatal(logs, err)
		}
		for _, name := range logs {
			for at := int64(60); at < min(fileSize(pt.healthy, name), 1500) && !p.done(); at += int64(faultScale(61, 3)) {
				pt.try(fmt.Sprintf("byte %d of %s", at, name), func(dir string) bool { return flipBit(dir, name, at, 5) })
			}
		}
	})
}

// older puts parts of an older state in the place of newer ones.
func olderParts(p *faultPart) {
	for _, mode := range []Mode{Exact, Approximate} {
		pt := newPatient(p, mode)
		entries, err := os.ReadDir(pt.healthy)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, entry := range entries {
			name := entry.Name()
			if name == persist.LockName {
				continue
			}
			pt.try(fmt.Sprintf("%v mode, %s of an older state", mode, name), func(dir string) bool {
				from := filepath.Join(pt.older, name)
				if _, err := os.Stat(from); err != nil {
					return false
				}
				return os.RemoveAll(filepath.Join(dir, name)) == nil && copyAll(from, filepath.Join(dir, name)) == nil
			})
			pt.try(fmt.Sprintf("%v mode, all but %s of an older state", mode, name), func(dir string) bool {
				if name != persist.ManifestName && name != persist.JournalName {
					// The same as a whole older directory, see olderDirectory.
					return false
				}
				keep := dir + "~"
				return errors.Join(os.Rename(filepath.Join(dir, name), keep), os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(pt.older)),
					os.RemoveAll(filepath.Join(dir, name)), os.Rename(keep, filepath.Join(dir, name))) == nil
			})
			if !strings.HasPrefix(name, "seg-") {
				continue
			}
			pt.try("delete "+name, func(dir string) bool { return os.RemoveAll(filepath.Join(dir, name)) == nil })
			pt.try("empty "+name, func(dir string) bool {
				at := filepath.Join(dir, name)
				return errors.Join(os.RemoveAll(at), os.Mkdir(at, 0o755)) == nil
			})
		}
	}
}

func copyAll(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

// olderDirectory puts a whole older state in the place of the newer one, or an
// empty directory. Nothing in it can tell: the caller has to know better.
func olderDirectory(p *faultPart) {
	for _, mode := range []Mode{Exact, Approximate} {
		pt := newPatient(p, mode)
		pt.opts.NotBefore = pt.durable
		refused := p.mu.figures["refused"]
		pt.try("the newest state", func(string) bool { return true })
		if p.mu.figures["refused"] > refused {
			p.errorf("%v mode: the newest state was refused", mode)
		}
		for what, from := range map[string]string{"an older state": pt.older, "an empty directory": p.t.TempDir()} {
			pt.try(fmt.Sprintf("%v mode, %s", mode, what), func(dir string) bool {
				return errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(from))) == nil
			})
		}
	}
}

// TestFaultsOlderDirectory restores a directory as a whole from a backup and tells
// the engine how far it had come.
func TestFaultsOlderDirectory(t *testing.T) {
	runFaults(t, olderDirectory)
}

// TestFaultsOlderParts restores single parts of a directory from a backup, and
// all but one of them; it empties and deletes Badger's directories.
func TestFaultsOlderParts(t *testing.T) {
	runFaults(t, olderParts)
}
