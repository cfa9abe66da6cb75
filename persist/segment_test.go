package persist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

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
	if err := r.confirm(&l, []Query{keys[0].query()}); !errors.Is(err, ErrRetired) || !errors.Is(err, dedup.ErrClosed) {
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
	w.Add(0, 1)
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
				if err := r.confirm(&l, qs); err != nil {
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
				if err := errors.Join(r.confirm(&l, qs[:1]), tr.confirm(&l, qs[1:])); err != nil || !qs[0].Found || !qs[1].Found {
					t.Errorf("run %d, key %d: %v %v, %v", g, i, qs[0].Found, qs[1].Found, err)
					return
				}
			}
		}()
	}
	wg.Wait()
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

// TestConfirmAllocs: confirming allocates nothing.
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
			if err := r.confirm(&l, qs); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("form %d: %v allocations", form, n)
		}
	}
}
