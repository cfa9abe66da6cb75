package engine

import (
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
	"github.com/firstseen/firstseen/internal/sabotage"
	"github.com/firstseen/firstseen/persist"
)

// patient is a directory that is damaged in many ways, each time a copy of it.
type patient struct {
	p       *faultPart
	opts    Options
	healthy string // never opened
	older   string // the same directory some flushes earlier
	marked  [][]byte
	others  [][]byte
	n       int
}

// newPatient makes a directory with two generations, several runs, snapshots and
// a journal that has to be replayed.
func newPatient(p *faultPart, mode Mode) *patient {
	clock := newFakeClock()
	dir := p.t.TempDir()
	pt := &patient{p: p, healthy: dir, others: faultKeys(1e6, 40), opts: Options{
		Window: time.Hour, Capacity: 300, Generations: 3, BitsPerKey: 64, Shards: 1, Mode: mode, MinFreeDisk: -1,
		Now: clock.now, tableKeys: 5000, ringBytes: 32 << 10,
	}}
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
		wake(e.flushing)
		faultWait(p.t, "flush", func() bool { return e.Stats().Flush.UnflushedKeys == 0 || mode == Approximate })
	}
	mark(0, 60)
	flush()
	clock.advance(31 * time.Minute)
	mark(60, 20)
	flush()
	faultWait(p.t, "rotation", func() bool { return !e.rotated.Load() && len(e.Stats().Generations) == 2 })
	faultClose(p.t, e)
	pt.older = p.t.TempDir()
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
	e.crash(p.t)
	return pt
}

// try damages a copy and looks what comes of it: it is refused, or every answer
// is right or an error. damage returns false where there is nothing to damage.
func (pt *patient) try(what string, damage func(dir string) bool) {
	if pt.p.done() {
		return
	}
	pt.n++
	dir := filepath.Join(pt.p.t.TempDir(), "d")
	if err := os.CopyFS(dir, os.DirFS(pt.healthy)); err != nil {
		pt.p.t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if !damage(dir) {
		return
	}
	pt.p.count("damages", 1)
	segments, _ := persist.ListSegmentDirs(dir)
	e, err := Open(dir, pt.opts)
	switch {
	case errors.Is(err, dedup.ErrCorrupt) || errors.Is(err, dedup.ErrIncompatible):
		pt.p.count("refused", 1)
		if left, _ := persist.ListSegmentDirs(dir); !slices.Equal(left, segments) {
			pt.p.errorf("%s: it was refused, and of segments %v %v are left", what, segments, left)
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

// exhaust flips bits of a file, and cuts it off, at every stride-th byte.
func (pt *patient) exhaust(name string, from, to, stride int64) {
	for at := from; at < to; at += stride {
		bits := []int{int(at % 8)}
		if faultScale(0, 1) == 1 {
			bits = []int{0, 1, 2, 3, 4, 5, 6, 7}
		}
		for _, bit := range bits {
			pt.try(fmt.Sprintf("bit %d of byte %d of %s", bit, at, name), func(dir string) bool { return flipBit(dir, name, at, bit) })
		}
		if at%(4*stride) == 0 {
			pt.try(fmt.Sprintf("%s cut to %d bytes", name, at), func(dir string) bool {
				return os.Truncate(filepath.Join(dir, name), at) == nil
			})
		}
	}
}

func damageSmallFiles(p *faultPart) {
	for _, mode := range []Mode{Exact, Approximate} {
		pt := newPatient(p, mode)
		long := faultScale(0, 1) == 1
		stride := func(short int64) int64 {
			if long {
				return 1
			}
			return short
		}
		pt.exhaust(persist.IdentityName, 0, fileSize(pt.healthy, persist.IdentityName), 1)
		pt.exhaust(persist.ManifestName, 0, fileSize(pt.healthy, persist.ManifestName), stride(7))
		pt.exhaust(journalName, 0, 4096, stride(193))
		pt.exhaust(journalName+".mark", 0, 128, stride(11))
		pt.exhaust(persist.SnapshotPath("", 1), 0, fileSize(pt.healthy, persist.SnapshotPath("", 1)), stride(61))
		pt.exhaust(journalName, 8192, fileSize(pt.healthy, journalName), int64(faultScale(613, 7)))
	}
}

func TestFaultsDamageSmallFiles(t *testing.T) {
	runFaults(t, damageSmallFiles, sabotage.IgnoreProof, sabotage.SkipRebuild)
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
	for range faultScale(150, 2000) {
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
			pt.try(fmt.Sprintf("swap %s and %s", name, other), func(dir string) bool {
				a, b := path(dir), filepath.Join(dir, other)
				return errors.Join(os.Rename(a, a+"~"), os.Rename(b, a), os.Rename(a+"~", b)) == nil
			})
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
	runFaults(t, damageAnywhere, sabotage.IgnoreMissing)
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
	}, sabotage.IgnoreBlockSum)
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
				if name != persist.ManifestName && name != journalName {
					// The same as a whole older directory, which nothing in it can tell.
					return false
				}
				keep := filepath.Join(p.t.TempDir(), "keep")
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

// TestFaultsOlderParts restores single parts of a directory from a backup, and
// all but one of them; it empties and deletes Badger's directories.
func TestFaultsOlderParts(t *testing.T) {
	runFaults(t, olderParts, sabotage.IgnoreMissing)
}
