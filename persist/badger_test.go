package persist

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

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

// TestSegmentFull: what doesn't fit into one value log is refused, and what was
// written before stays where it is.
func TestSegmentFull(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 60 MB")
	}
	s := newTestSegment(t) // 64 MiB a file
	keys := makeKeys(0, 1_000_000, 1)
	var runs []*Run
	for i := range uint64(6) {
		w := s.NewRun(RunSpec{ID: i, MaxKeys: uint64(len(keys))})
		addAll(w, keys)
		r, err := w.Finish()
		if err == nil {
			runs = append(runs, r)
		} else if need := int64(len(keys) * (1 + fixedRecord)); s.Room() > need {
			t.Errorf("run %d: %v, with room for %d bytes", i, err, s.Room())
		}
	}
	if len(runs) != 4 {
		t.Errorf("%d runs of 15 MB fit", len(runs))
	}
	for _, r := range runs {
		var l Lookup
		qs := []Query{keys[0].query(), keys[len(keys)/2].query(), keys[len(keys)-1].query()}
		if err := r.confirm(&l, qs); err != nil || !qs[0].Found || !qs[1].Found || !qs[2].Found {
			t.Errorf("run %d: %v", r.Meta().ID, err)
		}
		if err := r.Verify(); err != nil {
			t.Error(err)
		}
	}
	logs, err := filepath.Glob(filepath.Join(s.Path(), "*.vlog"))
	if err != nil || len(logs) != 1 {
		t.Errorf("rotated: %v, %v", logs, err)
	}
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

// TestStoreFiles: a directory's name is no pattern: what lies in another one whose name
// it would match is left alone.
func TestStoreFiles(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	parent := t.TempDir()
	value := bytes.Repeat([]byte("value"), 1000)
	var stores [2]*store
	for i, name := range []string{"a1", "a[1]"} {
		s, err := createStore(filepath.Join(parent, name), 1<<20, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.put(valueKey(1, uint32(i)), value, 0), s.close()); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			if s, err = openStore(s.dir, 1<<20, quiet); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.put(valueKey(2, 0), value, 0), s.close()); err != nil {
				t.Fatal(err)
			}
		}
		stores[i] = s
	}
	for i, want := range [][]string{{"000001.vlog"}, {"000001.vlog", "000002.vlog", "000003.vlog"}} {
		paths, err := storeFiles(stores[i].dir, ".vlog")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range paths {
			if filepath.Dir(p) != stores[i].dir {
				t.Errorf("%s is not in %s", p, stores[i].dir)
			}
			names = append(names, filepath.Base(p))
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s has the logs %v, want %v", stores[i].dir, names, want)
		}
	}
}
