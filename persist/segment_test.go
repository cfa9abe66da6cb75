package persist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/firstseen/firstseen/dedup"
)

// TestSegmentLife goes from creation to removal, and leaves no goroutine.
func TestSegmentLife(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	c := SegmentConfig{Dir: dir, ID: 42, MaxBytes: 1 << 20}
	s, err := CreateSegment(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CreateSegment(c); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	keys := makeKeys(0, 1_000, 1)
	r := writeRun(t, s, RunSpec{ID: 1}, keys)
	m := r.Meta()
	if got := s.Bytes(); got != m.Bytes() || got < 16_000 || got > 17_000 {
		t.Errorf("%d bytes, %d in the run", got, m.Bytes())
	}
	if n := r.MemoryBytes(); n < 80 || n > 2_000 {
		t.Errorf("%d bytes of memory", n)
	}
	if ids, err := ListSegmentDirs(dir); err != nil || !slices.Equal(ids, []uint64{42}) {
		t.Errorf("list: %v, %v", ids, err)
	}
	if err := s.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
	// Everything after the end says so.
	var l Lookup
	if err := r.Confirm(&l, []Query{keys[0].query()}); !errors.Is(err, ErrRetired) || !errors.Is(err, dedup.ErrClosed) {
		t.Errorf("confirm: %v", err)
	}
	if err := r.Scan(func(*Block) error { return nil }); !errors.Is(err, ErrRetired) {
		t.Errorf("scan: %v", err)
	}
	if err := r.Verify(); !errors.Is(err, ErrRetired) {
		t.Errorf("verify: %v", err)
	}
	if err := s.Sync(); !errors.Is(err, ErrRetired) {
		t.Errorf("sync: %v", err)
	}
	w := s.NewRun(RunSpec{ID: 2, MaxKeys: 1})
	w.Add(0, 1, 1)
	if _, err := w.Finish(); !errors.Is(err, ErrRetired) {
		t.Errorf("write: %v", err)
	}
	if err := s.Remove(); err != nil {
		t.Errorf("removed again: %v", err)
	}
	if err := RemoveSegmentDir(dir, 42); err != nil {
		t.Errorf("removed a third time: %v", err)
	}
}

func TestListSegmentDirs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"seg-00000007", "seg-100000000", "seg-00000001", "seg-1", "seg-+0000001", "seg-0000000x", "segment", "seg-00000009.bak"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "seg-00000002"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if ids, err := ListSegmentDirs(dir); err != nil || !slices.Equal(ids, []uint64{1, 7, 100_000_000}) {
		t.Errorf("%v, %v", ids, err)
	}
	if err := RemoveSegmentDir(dir, 7); err != nil {
		t.Fatal(err)
	}
	if ids, err := ListSegmentDirs(dir); err != nil || !slices.Equal(ids, []uint64{1, 100_000_000}) {
		t.Errorf("%v, %v", ids, err)
	}
}

// TestRemoveWhileReading removes segments under confirms, scans and writes, which
// either finish or say ErrRetired.
func TestRemoveWhileReading(t *testing.T) {
	keys := makeKeys(0, 20_000, 1)
	for i := range uint64(5) {
		s, err := CreateSegment(SegmentConfig{Dir: t.TempDir(), ID: i, MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		r := writeRun(t, s, RunSpec{ID: 1}, keys)
		var wg sync.WaitGroup
		var calls atomic.Int64
		under := make(chan struct{})
		var once sync.Once
		reader := func(call func() error) {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for {
					err := call()
					if errors.Is(err, ErrRetired) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					if calls.Add(1) == 50 {
						once.Do(func() { close(under) })
					}
				}
			}()
		}
		for g := range 3 {
			var l Lookup
			at := 100 * g
			reader(func() error {
				qs := []Query{keys[at%len(keys)].query()}
				at += 7
				if err := r.Confirm(&l, qs); err != nil {
					return err
				}
				if !qs[0].Found {
					return fmt.Errorf("key %d not found", at)
				}
				return nil
			})
		}
		reader(func() error { return r.Scan(func(*Block) error { return nil }) })
		reader(s.Sync)
		<-under
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}

// TestConcurrentRuns writes and reads several runs of a segment at once; one of
// them is so small that Badger keeps it elsewhere.
func TestConcurrentRuns(t *testing.T) {
	s := newTestSegment(t)
	tiny := makeKeys(0, 1, 7)
	tr := writeRun(t, s, RunSpec{ID: 100}, tiny)
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			keys := makeKeys(0, 30_000, g)
			w := s.NewRun(RunSpec{ID: g, MaxKeys: uint64(len(keys))})
			addAll(w, keys)
			r, err := w.Finish()
			if err != nil {
				t.Error(err)
				return
			}
			var l Lookup
			for i := 0; i < len(keys); i += 97 {
				qs := []Query{keys[i].query(), tiny[0].query()}
				if err := errors.Join(r.Confirm(&l, qs[:1]), tr.Confirm(&l, qs[1:])); err != nil || !qs[0].Found || !qs[1].Found {
					t.Errorf("run %d, key %d: %v %v, %v", g, i, qs[0].Found, qs[1].Found, err)
					return
				}
			}
		}()
	}
	wg.Wait()
}

// TestReopenOften: each opening after a kill leaves a table in level 0, without
// compactors to take it away; opening and writing must go on all the same.
func TestReopenOften(t *testing.T) {
	c := SegmentConfig{Dir: t.TempDir(), ID: 1, MaxBytes: 1 << 20}
	s, err := CreateSegment(c)
	if err != nil {
		t.Fatal(err)
	}
	meta := SegmentMeta{ID: 1}
	keys := makeKeys(0, 100, 1)
	for i := range uint64(18) {
		r := writeRun(t, s, RunSpec{ID: i}, keys)
		meta.Runs = append(meta.Runs, r.Meta())
		awaitFlush(t, s) // a copy taken during it would be no moment's state
		c.Dir = t.TempDir()
		copyTree(t, s.Path(), c.path()) // as a kill would leave it
		if err := s.Remove(); err != nil {
			t.Fatal(err)
		}
		var runs []*Run
		if s, runs, err = OpenSegment(c, meta); err != nil {
			t.Fatal(err)
		}
		if len(runs) != int(i)+1 {
			t.Fatalf("%d runs", len(runs))
		}
		checkScan(t, runs[0], keys)
		checkScan(t, runs[i], keys)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if files := len(listFiles(t, s.Path())); files > 100 {
		t.Errorf("%d files", files)
	}
}

// awaitFlush waits until Badger has turned the logs of the last opening into
// tables; then the current log is the only one.
func awaitFlush(t *testing.T, s *Segment) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		logs, err := filepath.Glob(filepath.Join(s.Path(), "*.mem"))
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("not flushed: %v, %v", logs, err)
		}
		if len(logs) == 1 {
			return
		}
	}
}

// TestPins: draining waits for the pins that are held, and no new ones are given.
func TestPins(t *testing.T) {
	p := pins{drained: make(chan struct{}, 1)}
	if !p.pin() || !p.pin() {
		t.Fatal("no pin")
	}
	var released atomic.Bool
	drained := make(chan bool, 1)
	go func() {
		p.drain()
		drained <- released.Load()
	}()
	for p.pin() { // until draining has begun
		p.unpin()
		runtime.Gosched()
	}
	p.unpin()
	for range 1_000 { // time for a drain that does not wait
		if p.pin() {
			t.Fatal("pin of what is drained")
		}
		runtime.Gosched()
	}
	released.Store(true)
	p.unpin()
	if !<-drained {
		t.Error("drained while a pin was held")
	}
	if p.pin() {
		t.Error("pin of what was drained")
	}
	q := pins{drained: make(chan struct{}, 1)}
	q.drain() // nothing held: nothing to wait for
}

// TestCheckIndex: an index that fits its values in length only.
func TestCheckIndex(t *testing.T) {
	f := func(index, starts []uint32, ok bool) {
		t.Helper()
		r := &Run{seg: &Segment{}, index: index, starts: starts}
		if err := r.checkIndex(); (err == nil) != ok {
			t.Errorf("index %v, values at %v: %v", index, starts, err)
		}
	}
	f([]uint32{0, 4}, []uint32{0, 4}, true)
	f([]uint32{0, 4, 20, 24}, []uint32{0, 20, 24}, true)
	f([]uint32{0, 4, 20, 24}, []uint32{0, 24}, true)
	f([]uint32{0, 4, 20, 24}, []uint32{0, 12, 24}, false) // a block in two values
	f([]uint32{0, 4, 20, 24}, []uint32{0, 28}, false)     // too short
	f([]uint32{0, 4, 20, 28}, []uint32{0, 24}, false)     // too long
	f([]uint32{4, 8}, []uint32{0, 8}, false)              // a gap
	f([]uint32{0, 20, 16, 24}, []uint32{0, 24}, false)    // back
	f([]uint32{0, 2, 8}, []uint32{0, 8}, false)           // no room for a checksum
}

// TestValueLogRotation writes more than a value-log file takes, while readers
// hold the files.
func TestValueLogRotation(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100 MB")
	}
	s := newTestSegment(t) // 64 MiB a file
	keys := makeKeys(0, 1_000_000, 1)
	var runs []*Run
	for i := range uint64(6) {
		runs = append(runs, writeRun(t, s, RunSpec{ID: i}, keys))
		for _, r := range runs {
			var l Lookup
			qs := []Query{keys[0].query(), keys[len(keys)/2].query(), keys[len(keys)-1].query()}
			if err := r.Confirm(&l, qs); err != nil || !qs[0].Found || !qs[1].Found || !qs[2].Found {
				t.Fatalf("run %d after %d: %v", r.Meta().ID, i, err)
			}
		}
	}
	logs, err := filepath.Glob(filepath.Join(s.Path(), "*.vlog"))
	if err != nil || len(logs) < 2 {
		t.Errorf("no rotation: %v, %v", logs, err)
	}
	for _, r := range runs {
		if err := r.Verify(); err != nil {
			t.Error(err)
		}
	}
}

// TestConfirmAllocs: confirming allocates nothing of ours. Badger's bound unlock
// function is one allocation a value that is looked into.
func TestConfirmAllocs(t *testing.T) {
	s := newTestSegment(t)
	for _, form := range []uint8{0, 3} {
		keys := makeKeys(form, 20_000, 1) // within one value
		r := writeRun(t, s, RunSpec{ID: uint64(form), Form: form}, keys)
		if n := len(r.Meta().Values); n != 1 {
			t.Fatalf("%d values", n)
		}
		qs := make([]Query, 64)
		for i := range qs {
			qs[i] = keys[i*len(keys)/len(qs)].query()
		}
		var l Lookup
		n := testing.AllocsPerRun(100, func() {
			for i := range qs {
				qs[i].Found = false
			}
			if err := r.Confirm(&l, qs); err != nil {
				t.Fatal(err)
			}
		})
		if n > 1 {
			t.Errorf("form %d: %v allocations", form, n)
		}
	}
}

// TestOpenRefuses: descriptions that do not fit are damage, not panics.
func TestOpenRefuses(t *testing.T) {
	d, s := makeDamaged(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f := func(what, detail string, change func(m *RunMeta)) {
		t.Helper()
		meta := SegmentMeta{ID: 1, Runs: slices.Clone(d.meta.Runs)}
		m := &meta.Runs[0]
		m.Values = slices.Clone(m.Values)
		change(m)
		var ce *dedup.CorruptError
		if s, _, err := OpenSegment(d.config(), meta); !errors.As(err, &ce) || !strings.Contains(ce.Detail, detail) {
			t.Errorf("%s: %v", what, err)
			if err == nil {
				_ = s.Close()
			}
		}
	}
	f("no blocks", "0 blocks", func(m *RunMeta) { m.Blocks = 0 })
	f("other blocks", "blocks and an index", func(m *RunMeta) { m.Blocks++ })
	f("no values", "0 values", func(m *RunMeta) { m.Values = nil })
	f("a value more", "missing", func(m *RunMeta) { m.Values = append(m.Values, ValueMeta{Bytes: 100}) })
	f("a value less", "covers", func(m *RunMeta) { m.Values = m.Values[:len(m.Values)-1] })
	f("another length", "value 1: ", func(m *RunMeta) { m.Values[1].Bytes++ })
	f("swapped lengths", "value 1: ", func(m *RunMeta) { m.Values[1].Bytes++; m.Values[2].Bytes-- })
	f("another index", "index: checksum", func(m *RunMeta) { m.Index.CRC++ })
	f("another run", "run 99, value 0: missing", func(m *RunMeta) { m.ID = 99 })
	f("too long", "more than offsets", func(m *RunMeta) { m.Values = slices.Repeat([]ValueMeta{{Bytes: 1 << 31}}, 3) })
	if _, _, err := OpenSegment(d.config(), SegmentMeta{ID: 2}); err == nil {
		t.Error("opened as another segment")
	}

	// What only shows when all of it is read.
	g := func(what string, change func(m *RunMeta)) {
		t.Helper()
		meta := SegmentMeta{ID: 1, Runs: slices.Clone(d.meta.Runs[:1])}
		m := &meta.Runs[0]
		m.Values = slices.Clone(m.Values)
		change(m)
		s, runs, err := OpenSegment(d.config(), meta)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := runs[0].Scan(func(*Block) error { return nil }); !errors.Is(err, dedup.ErrCorrupt) {
			t.Errorf("%s: scan: %v", what, err)
		}
		if err := runs[0].Verify(); !errors.Is(err, dedup.ErrCorrupt) {
			t.Errorf("%s: verify: %v", what, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	g("another sum", func(m *RunMeta) { m.Sum++ })
	g("more keys", func(m *RunMeta) { m.Keys++ })
	g("fewer keys", func(m *RunMeta) { m.Keys-- })
	g("another checksum", func(m *RunMeta) { m.Values[1].CRC++ })
}

// TestSyncTellsWhatBadgerLogs: some failures of Badger's are only logged.
func TestSyncTellsWhatBadgerLogs(t *testing.T) {
	s := newTestSegment(t)
	s.store.log.Warningf("a warning")
	s.store.log.Errorf("Unable to read: Key: %v", "x") // a read fails by itself
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	s.store.log.Errorf("Error while curlf sync: %v\n", fs.ErrInvalid)
	for range 2 { // and for good
		if err := s.Sync(); !errors.Is(err, dedup.ErrFailed) {
			t.Errorf("got %v", err)
		}
	}
}
