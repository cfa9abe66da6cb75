package persist

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// inChild runs the rest of the test in a process of its own, and reports whether
// this is the parent, which has nothing more to do. Tests whose damage makes
// Badger's Open fail, or leaves a lock of its behind, leave goroutines of Badger's
// behind too, which other tests would find; and what ends the process should not
// end theirs.
func inChild(t *testing.T) (parent bool) {
	t.Helper()
	const key = "PERSIST_TEST_CHILD"
	if os.Getenv(key) == t.Name() {
		return false
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", fmt.Sprintf("-test.short=%v", testing.Short()))
	cmd.Env = append(os.Environ(), key+"="+t.Name())
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("child: %v", err)
	}
	return true
}

// damaged is a closed segment with a fixed and a variable run, and what it takes
// to judge what comes out of a damaged copy of it.
type damaged struct {
	dir  string // engine's directory
	meta SegmentMeta
	keys [2][]testKey
	qs   [2][]Query // present keys have an Index of 0 or more
}

// makeDamaged writes values of 4 KiB, so that there are many boundaries.
func makeDamaged(t *testing.T) (*damaged, *Segment) {
	t.Helper()
	d := &damaged{dir: t.TempDir(), meta: SegmentMeta{ID: 1}}
	s, err := CreateSegment(d.config())
	if err != nil {
		t.Fatal(err)
	}
	for i, form := range []uint8{1, 3} {
		d.keys[i] = makeKeys(form, 4_000, uint64(i))
		w := s.newRun(RunSpec{ID: uint64(i), Form: form, Zeros: testShardBits, MaxKeys: 4_000}, 4<<10)
		addAll(w, d.keys[i])
		r, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		d.meta.Runs = append(d.meta.Runs, r.Meta())
		for n, k := range append(slices.Clone(d.keys[i]), makeKeys(form, 1_000, 77)...) {
			q := k.query()
			if q.Index = int32(n); n >= len(d.keys[i]) {
				q.Index = -1
			}
			d.qs[i] = append(d.qs[i], q)
		}
		slices.SortStableFunc(d.qs[i], func(a, b Query) int { return cmp.Compare(a.Order, b.Order) })
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	return d, s
}

// reopenDamaged closes and opens what makeDamaged wrote.
func reopenDamaged(t *testing.T) (*damaged, *Segment, []*Run) {
	t.Helper()
	d, s := makeDamaged(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, runs, err := OpenSegment(d.config(), d.meta)
	if err != nil {
		t.Fatal(err)
	}
	return d, s, runs
}

func (d *damaged) config() SegmentConfig { return SegmentConfig{Dir: d.dir, ID: 1, MaxBytes: 1 << 20} }

// judge asks a run for everything. It returns whether damage was reported, and
// fails when an answer is wrong or an error is no report of damage.
func (d *damaged) judge(t *testing.T, r *Run, what string) (reported bool) {
	t.Helper()
	i := int(r.Meta().ID)
	var l Lookup
	qs := slices.Clone(d.qs[i])
	err := r.confirm(&l, qs)
	if err != nil && !errors.Is(err, dedup.ErrCorrupt) {
		t.Fatalf("%s: confirm: %v", what, err)
	}
	for _, q := range qs {
		if q.Found && q.Index < 0 || err == nil && q.Found != (q.Index >= 0) {
			t.Fatalf("%s: key %d: found %v, error %v", what, q.Index, q.Found, err)
		}
	}
	n := 0
	serr := r.Scan(func(b *Block) error {
		for j := range b.Len() {
			if n == len(d.keys[i]) {
				t.Fatalf("%s: scan gives more keys than there are", what)
			}
			k := d.keys[i][n]
			n++
			if k.bytes != nil && !bytes.Equal(b.Key(j), k.bytes) {
				t.Fatalf("%s: scan gives %x, want %x", what, b.Key(j), k.bytes)
			}
			if k.bytes == nil {
				if order, lo := b.Pair(j); order != k.order || lo != k.lo {
					t.Fatalf("%s: scan gives %x %x, want %x %x", what, order, lo, k.order, k.lo)
				}
			}
		}
		return nil
	})
	if serr != nil && !errors.Is(serr, dedup.ErrCorrupt) || serr == nil && n != len(d.keys[i]) {
		t.Fatalf("%s: scan of %d keys: %v", what, n, serr)
	}
	verr := r.Verify() // reads the stored index too, which an open run has in memory
	if serr != nil && verr == nil || verr != nil && !errors.Is(verr, dedup.ErrCorrupt) {
		t.Fatalf("%s: scan says %v, verify says %v", what, serr, verr)
	}
	return err != nil || serr != nil || verr != nil
}

// openJudged opens the segment and judges all of it.
func (d *damaged) openJudged(t *testing.T, c SegmentConfig, what string) (reported bool) {
	t.Helper()
	s, runs, err := OpenSegment(c, d.meta)
	if err != nil {
		if !errors.Is(err, dedup.ErrCorrupt) {
			t.Fatalf("%s: open: %v", what, err)
		}
		return true
	}
	for _, r := range runs {
		reported = d.judge(t, r, what) || reported
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%s: close: %v", what, err)
	}
	return reported
}

// dataLog is the value-log file of the segment that holds the values.
func (d *damaged) dataLog(t *testing.T) (path string, size int64) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(d.config().path(), "*.vlog"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	for _, m := range d.meta.Runs {
		size += m.Bytes()
		size += int64(len(m.Values)+1) * (keyLen + 20) // not less than entries have around their values
	}
	return slices.Min(logs), size
}

// flip changes one bit of a file and returns how to change it back. The store
// sees it at once: its maps are of the same pages.
func flip(t *testing.T, path string, offset int64, bit int) (undo func()) {
	t.Helper()
	undo = func() {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var b [1]byte
		if _, err := f.ReadAt(b[:], offset); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1 << bit
		if _, err := f.WriteAt(b[:], offset); err != nil {
			t.Fatal(err)
		}
	}
	undo()
	return undo
}

// pickFile picks a file with content, each kind as often as another.
func pickFile(t *testing.T, dir string, rng *rand.Rand) string {
	t.Helper()
	kinds := map[string][]string{}
	for _, path := range listFiles(t, dir) {
		if usedLength(t, path) > 0 && filepath.Base(path) != "DISCARD" {
			kind := strings.TrimLeft(filepath.Base(path), "0123456789")
			kinds[kind] = append(kinds[kind], path)
		}
	}
	names := make([]string, 0, len(kinds))
	for k := range kinds {
		names = append(names, k)
	}
	slices.Sort(names)
	files := kinds[names[rng.IntN(len(names))]]
	return files[rng.IntN(len(files))]
}

func fileExists(path string) bool { _, err := os.Stat(path); return err == nil }

func listFiles(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range entries {
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	return paths
}

// usedLength is a file's length without the hole at its end.
func usedLength(t *testing.T, path string) int64 {
	t.Helper()
	data := readSparse(t, path)
	return int64(len(bytes.TrimRight(data, "\x00")))
}

// readSparse reads the first 4 MiB, in which all content of these tests lies.
func readSparse(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4<<20))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// copySegment copies a segment's directory aside.
func copySegment(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	copyTree(t, from, to)
	return to
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range listFiles(t, from) {
		copyFile(t, path, filepath.Join(to, filepath.Base(path)))
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, readSparse(t, from), fs.ModePerm); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(to, info.Size()); err != nil {
		t.Fatal(err)
	}
}
