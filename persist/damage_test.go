package persist

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// TestI5FlippedBitWhileOpen damages the value log under an open segment.
func TestI5FlippedBitWhileOpen(t *testing.T) {
	if inChild(t) {
		return
	}
	d, s := makeDamaged(t)
	path, size := d.dataLog(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	trials := 1_000
	if testing.Short() {
		trials = 200
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var runs []*Run
	reported, leaked := 0, 0
	for i := range trials {
		if s == nil || runs == nil {
			var err error
			if s, runs, err = OpenSegment(d.config(), d.meta); err != nil {
				t.Fatal(err)
			}
		}
		offset, bit := rng.Int64N(size), rng.IntN(8)
		undo := flip(t, path, offset, bit)
		found := false
		for _, r := range runs {
			found = d.judge(t, r, fmt.Sprintf("trial %d, bit %d of byte %d", i, bit, offset)) || found
		}
		undo()
		if found {
			reported++
		}
		if s.store.leaked.Load() {
			leaked++
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			runs = nil
		}
	}
	if runs != nil {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d flipped bits reported, %d of them left a lock of Badger's behind", reported, trials, leaked)
	// Most of the log is blocks; a bit of Badger's own keys and checksums harms nobody.
	if reported < trials*8/10 {
		t.Errorf("only %d of %d reported", reported, trials)
	}
}

// TestI5FlippedBitBeforeOpen damages each kind of file of a closed and of a
// killed segment.
func TestI5FlippedBitBeforeOpen(t *testing.T) {
	if inChild(t) {
		return
	}
	d, s := makeDamaged(t)
	killed := copySegment(t, d.config().path())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	closed := copySegment(t, d.config().path())
	trials := 120
	if testing.Short() {
		trials = 20
	}
	rng := rand.New(rand.NewPCG(3, 4))
	reported := map[string]int{}
	for i := range trials {
		from := []string{killed, closed}[i%2]
		c := SegmentConfig{Dir: t.TempDir(), ID: 1, MaxBytes: 1 << 20}
		copyTree(t, from, c.path())
		path := pickFile(t, c.path(), rng)
		offset, bit := rng.Int64N(usedLength(t, path)), rng.IntN(8)
		what := fmt.Sprintf("trial %d, bit %d of byte %d of %s", i, bit, offset, path)
		flip(t, path, offset, bit)
		kind := strings.TrimLeft(filepath.Base(path), "0123456789")
		if d.openJudged(t, c, what) {
			reported[kind]++
		}
	}
	t.Logf("reported: %v", reported)
}

// TestI5FilesLost empties, cuts, removes and mixes up each file of a segment.
func TestI5FilesLost(t *testing.T) {
	if inChild(t) {
		return
	}
	d, s := makeDamaged(t)
	killed := copySegment(t, d.config().path())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	closed := copySegment(t, d.config().path())
	other, s2 := makeDamaged(t) // another segment's files, as of a mixed-up restore
	if err := s2.Close(); err != nil {
		t.Fatal(err)
	}
	foreign := copySegment(t, other.config().path())

	actions := map[string]func(path string) error{
		"emptied": func(path string) error { return os.Truncate(path, 0) },
		"halved":  func(path string) error { return os.Truncate(path, usedLength(t, path)/2) },
		"cut by 3": func(path string) error {
			return os.Truncate(path, max(0, usedLength(t, path)-3))
		},
		"removed": os.Remove,
	}
	for _, from := range []string{killed, closed} {
		whole := SegmentConfig{Dir: t.TempDir(), ID: 1, MaxBytes: 1 << 20}
		copyTree(t, from, whole.path())
		if d.openJudged(t, whole, "whole") {
			t.Errorf("damage of a whole copy (killed: %v)", from == killed)
		}
		for _, file := range listFiles(t, from) {
			name := filepath.Base(file)
			for action, do := range actions {
				c := SegmentConfig{Dir: t.TempDir(), ID: 1, MaxBytes: 1 << 20}
				copyTree(t, from, c.path())
				if err := do(filepath.Join(c.path(), name)); err != nil {
					t.Fatal(err)
				}
				what := fmt.Sprintf("%s %s (killed: %v)", name, action, from == killed)
				reported := d.openJudged(t, c, what)
				// These two hold nothing of ours; all others must be there, whole.
				if needless := name == "DISCARD" || name == "KEYREGISTRY"; reported == needless {
					t.Errorf("%s: reported %v", what, reported)
				}
			}
			if src := filepath.Join(foreign, name); fileExists(src) {
				c := SegmentConfig{Dir: t.TempDir(), ID: 1, MaxBytes: 1 << 20}
				copyTree(t, from, c.path())
				copyFile(t, src, filepath.Join(c.path(), name))
				d.openJudged(t, c, name+" of another segment")
			}
		}
	}
	c := SegmentConfig{Dir: t.TempDir(), ID: 1}
	if _, _, err := OpenSegment(c, d.meta); !errors.Is(err, dedup.ErrCorrupt) {
		t.Errorf("missing segment: %v", err)
	}
	if fileExists(c.path()) {
		t.Error("opening a missing segment made one")
	}
}

// TestI5OlderCopies puts single files of an older state of a segment into its
// newer state.
func TestI5OlderCopies(t *testing.T) {
	if inChild(t) {
		return
	}
	d, s := makeDamaged(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old := copySegment(t, d.config().path())
	s, _, err := OpenSegment(d.config(), d.meta)
	if err != nil {
		t.Fatal(err)
	}
	// A third run, which the old files can't know.
	keys := makeKeys(0, 5_000, 5)
	r := writeRun(t, s, RunSpec{ID: 2}, keys)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	newKilled := copySegment(t, d.config().path())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	newClosed := copySegment(t, d.config().path())
	meta := d.meta
	meta.Runs = append(slices.Clone(meta.Runs), r.Meta())

	noticed := 0
	for _, now := range []string{newKilled, newClosed} {
		sets := [][]string{nil}
		for _, f := range listFiles(t, old) {
			sets = append(sets, []string{filepath.Base(f)})
			sets[0] = append(sets[0], filepath.Base(f)) // all of them together
		}
		for _, set := range sets {
			c := SegmentConfig{Dir: t.TempDir(), ID: 1, MaxBytes: 1 << 20}
			copyTree(t, now, c.path())
			for _, name := range set {
				copyFile(t, filepath.Join(old, name), filepath.Join(c.path(), name))
			}
			s, runs, err := OpenSegment(c, meta)
			if err != nil {
				if !errors.Is(err, dedup.ErrCorrupt) {
					t.Fatalf("%v: %v", set, err)
				}
				noticed++
				continue
			}
			for _, r := range runs[:2] {
				d.judge(t, r, fmt.Sprint(set))
			}
			checkRun(t, runs[2], keys, nil)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if noticed < 2 {
		t.Errorf("noticed %d times", noticed)
	}
	// The whole old directory.
	c := SegmentConfig{Dir: t.TempDir(), ID: 1, MaxBytes: 1 << 20}
	copyTree(t, old, c.path())
	if _, _, err := OpenSegment(c, meta); !errors.Is(err, dedup.ErrCorrupt) {
		t.Errorf("an older directory: %v", err)
	}
	// What is left of it is what repair starts from.
	s, runs, err := SalvageSegment(c, meta)
	if !errors.Is(err, dedup.ErrCorrupt) || s == nil || len(runs) != 2 {
		t.Fatalf("salvage: %v, %d runs", err, len(runs))
	}
	for _, r := range runs {
		if d.judge(t, r, "salvage") {
			t.Error("salvaged run is damaged")
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLeakedLock: a length in the value log that is too large makes Badger keep
// a lock. The segment must still close, and open again once the file is mended.
func TestLeakedLock(t *testing.T) {
	if inChild(t) {
		return
	}
	d, s, runs := reopenDamaged(t)
	path, _ := d.dataLog(t)
	// meta, user meta and key length come before the varint of the value's length;
	// its second byte is about 4096 >> 7.
	undo := flip(t, path, vlogHeader+4, 6)
	if !d.judge(t, runs[0], "length flipped") {
		t.Fatal("not noticed")
	}
	if !s.store.leaked.Load() {
		t.Error("the damage was not of the kind this test is for")
	}
	if !d.judge(t, runs[0], "asked again") {
		t.Fatal("not noticed again")
	}
	if d.judge(t, runs[1], "the other run") {
		t.Error("the other run is damaged too")
	}
	if err := s.Close(); err != nil { // would hang
		t.Fatal(err)
	}
	undo()
	if d.openJudged(t, d.config(), "mended") {
		t.Error("still damaged after mending")
	}
}

// TestFault: somebody cuts the value log off under an open segment, which gives
// faults as a disk that can't read its blocks would.
func TestFault(t *testing.T) {
	if inChild(t) {
		return
	}
	d, s, runs := reopenDamaged(t)
	path, _ := d.dataLog(t)
	if err := os.Truncate(path, 8<<10); err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		if !d.judge(t, r, "cut off") {
			t.Errorf("run %d: not noticed", r.Meta().ID)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSalvageRun: of a run with one damaged block all other keys are kept.
func TestSalvageRun(t *testing.T) {
	if inChild(t) {
		return
	}
	d, s, runs := reopenDamaged(t)
	path, _ := d.dataLog(t)
	undo := flip(t, path, vlogHeader+1000, 0) // in the second block of the first value
	kept := 0
	lost, err := runs[0].Salvage(func(b *Block) error { kept += b.Len(); return nil })
	if !errors.Is(err, dedup.ErrCorrupt) || lost == 0 || lost > 100 || kept+int(lost) != len(d.keys[0]) {
		t.Errorf("kept %d, lost %d of %d: %v", kept, lost, len(d.keys[0]), err)
	}
	var ce *dedup.CorruptError
	if !errors.As(err, &ce) || ce.File != s.Path() || !strings.Contains(ce.Detail, "run 0, value 0") {
		t.Errorf("error names %+v", ce)
	}
	undo()
	if lost, err := runs[0].Salvage(func(*Block) error { return nil }); lost != 0 || err != nil {
		t.Errorf("mended: lost %d: %v", lost, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamageStaysSmall: Badger's Open would cut the newest value log off at the
// first damaged entry; what lies behind it must survive opening, cleanly closed
// or killed, as often as one likes.
func TestDamageStaysSmall(t *testing.T) {
	if inChild(t) {
		return
	}
	d, s := makeDamaged(t)
	killed := copySegment(t, d.config().path())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{killed, copySegment(t, d.config().path())} {
		d.dir = t.TempDir()
		copyTree(t, from, d.config().path())
		path, _ := d.dataLog(t)
		flip(t, path, vlogHeader+1000, 0) // in the first value of all
		for range 3 {
			s, runs, err := OpenSegment(d.config(), d.meta)
			if err != nil {
				t.Fatal(err)
			}
			if lost, err := runs[0].Salvage(func(*Block) error { return nil }); !errors.Is(err, dedup.ErrCorrupt) || lost > 100 {
				t.Errorf("killed: %v, lost %d keys: %v", from == killed, lost, err)
			}
			if d.judge(t, runs[1], "the run behind") {
				t.Errorf("killed: %v, the run behind is damaged", from == killed)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
