package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine/inspect"
	"github.com/firstseen/firstseen/internal/vfs"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/persist/journal"
)

// damagedDir is a directory with two generations in runs, a third in the journal
// only, and the keys that it holds.
type damagedDir struct {
	dir   string
	opts  config
	clock *fakeClock
	keys  map[string]bool
}

func newDamagedDir(t *testing.T, mode Mode) *damagedDir {
	t.Helper()
	clock := newFakeClock()
	d := &damagedDir{dir: t.TempDir(), clock: clock, keys: map[string]bool{}, opts: config{Options: Options{
		Window:      time.Hour,
		Capacity:    3000,
		Generations: 4,
		Shards:      2,
		MinFreeDisk: -1,
		Now:         clock.now,
		Mode:        mode,
		Sync:        SyncNone,
	}, hooks: hooks{
		tableKeys: 500,
		ringBytes: 256 << 10,
	}}}
	e := faultOpen(t, d.dir, d.opts)
	for g := range 3 {
		for i := range 300 {
			d.mark(t, e, fmt.Sprintf("generation %d key %d", g, i))
		}
		if g < 2 {
			clock.advance(21 * time.Minute)
			d.mark(t, e, fmt.Sprintf("rotates %d", g))
			if mode == Exact {
				faultWait(t, "flush", func() bool { s := e.Stats(); return s.Flush.PendingTables == 0 && s.Generations[g].Runs > 0 })
			}
		}
	}
	if err := e.Snapshot(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		d.mark(t, e, fmt.Sprintf("last %d", i))
	}
	e.crash(t)
	return d
}

func (d *damagedDir) mark(t *testing.T, e *Engine, key string) {
	t.Helper()
	v, err := e.Admit(context.Background(), []byte(key))
	if err != nil || v != dedup.Fresh && d.opts.Mode == Exact {
		t.Fatalf("%s: %v, %v", key, v, err)
	}
	d.keys[key] = true
}

// look opens the directory and counts the answers for keys that were marked and
// for others.
func (d *damagedDir) look(t *testing.T, onGap OnGap) (marked, others map[dedup.Verdict]int, gaps []Gap) {
	t.Helper()
	opts := d.opts
	opts.OnGap = onGap
	e := faultOpen(t, d.dir, opts)
	defer faultClose(t, e)
	marked, others = map[dedup.Verdict]int{}, map[dedup.Verdict]int{}
	count := func(into map[dedup.Verdict]int, key string) {
		found, err := e.Contains(context.Background(), []byte(key))
		switch {
		case errors.Is(err, dedup.ErrCorrupt):
			into[dedup.Unknown]++
		case err != nil:
			t.Fatal(err)
		case found:
			into[dedup.Duplicate]++
		default:
			into[dedup.Fresh]++
		}
	}
	for key := range d.keys {
		count(marked, key)
	}
	for i := range 500 {
		count(others, fmt.Sprintf("never marked %d", i))
	}
	return marked, others, e.Stats().Recovery.Gaps
}

func faultOpen(t testing.TB, dir string, opts config) *Engine {
	t.Helper()
	e, err := openWith(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func faultClose(t testing.TB, e *Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// faultWait polls for what a background goroutine does.
func faultWait(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

func faultFlip(t testing.TB, path string, off int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if off < 0 {
		off += int64(len(b))
	}
	b[off] ^= 0x10
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (d *damagedDir) valueLog(t *testing.T, generation int) string {
	t.Helper()
	m, err := persist.ReadManifest(vfs.OS(), d.dir)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(persist.SegmentPath(d.dir, m.Generations[generation].Segments[0].ID), "*.vlog"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	return logs[0]
}

// TestRepair damages a part each time: an opening refuses, a repair keeps what is
// sound and notes the gap, and then nothing that was marked is called Fresh by an
// engine that was asked to report.
func TestRepair(t *testing.T) {
	tests := []struct {
		name   string
		mode   Mode
		damage func(t *testing.T, d *damagedDir)
		opens  bool // a cache only
		late   bool // look-ups and scrubbing meet it, not the opening
		keeps  int  // of 952 keys, at least
		some   bool // some fresh keys are still Fresh: the filter is whole
	}{
		{name: "value of a run", damage: func(t *testing.T, d *damagedDir) { faultFlip(t, d.valueLog(t, 0), 700) }, late: true, keeps: 800, some: true},
		{name: "value of a run and the snapshot", damage: func(t *testing.T, d *damagedDir) {
			faultFlip(t, d.valueLog(t, 0), 700)
			faultFlip(t, persist.SnapshotPath(d.dir, 1), -100)
		}, keeps: 800},
		{name: "every value of a segment", damage: func(t *testing.T, d *damagedDir) {
			path := d.valueLog(t, 0)
			for at := int64(60); at < int64(usedBytes(t, path)); at += 60 {
				faultFlip(t, path, at)
			}
		}, late: true, keeps: 600, some: true},
		{name: "segment emptied", damage: func(t *testing.T, d *damagedDir) {
			dir := filepath.Dir(d.valueLog(t, 1))
			if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
				t.Fatal(err)
			}
		}, keeps: 600, some: true},
		{name: "snapshot", damage: func(t *testing.T, d *damagedDir) { faultFlip(t, persist.SnapshotPath(d.dir, 1), 60) }, opens: true, keeps: 952, some: true},
		{name: "snapshot without a store", mode: Approximate, damage: func(t *testing.T, d *damagedDir) {
			faultFlip(t, persist.SnapshotPath(d.dir, 1), -100)
		}, keeps: 600},
		{name: "snapshot without a store is missing", mode: Approximate, damage: func(t *testing.T, d *damagedDir) {
			if err := os.Remove(persist.SnapshotPath(d.dir, 2)); err != nil {
				t.Fatal(err)
			}
		}, keeps: 600},
		{name: "journal", damage: func(t *testing.T, d *damagedDir) { d.damageJournal(t) }, keeps: 900},
		{name: "journal's header", damage: func(t *testing.T, d *damagedDir) {
			path := filepath.Join(d.dir, persist.JournalName)
			faultFlip(t, path, 20)
			faultFlip(t, path, 4096+20)
		}, keeps: 600},
		{name: "journal missing", damage: func(t *testing.T, d *damagedDir) {
			if err := os.Remove(filepath.Join(d.dir, persist.JournalName)); err != nil {
				t.Fatal(err)
			}
		}, keeps: 600},
		{name: "manifest", damage: func(t *testing.T, d *damagedDir) { faultFlip(t, filepath.Join(d.dir, persist.ManifestName), 100) }},
		{name: "manifest missing", damage: func(t *testing.T, d *damagedDir) {
			if err := os.Remove(filepath.Join(d.dir, persist.ManifestName)); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDamagedDir(t, tt.mode)
			tt.damage(t, d)
			checkRepair(t, d, tt.opens, tt.late, tt.keeps, tt.some)
		})
	}
}

// damageJournal flips a bit of a frame in the middle of the newest lap.
func (d *damagedDir) damageJournal(t *testing.T) {
	t.Helper()
	m, err := persist.ReadManifest(vfs.OS(), d.dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.dir, persist.JournalName)
	j, err := journal.Open(journal.Config{FS: vfs.Looking(vfs.OS()), Path: path})
	if err != nil {
		t.Fatal(err)
	}
	var ends []journal.Pos
	_, err = j.Scan(m.Tail, func(f *journal.Frame) error {
		ends = append(ends, f.End)
		return nil
	})
	ring := j.State().RingBytes
	if err := errors.Join(err, j.Close(false)); err != nil {
		t.Fatal(err)
	}
	at := ends[len(ends)-20] % uint64(ring)
	faultFlip(t, path, int64(2*4096+at+50))
}

func checkRepair(t *testing.T, d *damagedDir, opens, late bool, keeps int, some bool) {
	t.Helper()
	ctx := context.Background()
	found, err := inspect.Verify(ctx, d.dir, nil)
	if err != nil || len(found.Damages) == 0 {
		t.Fatalf("verify: %+v, %v", found, err)
	}
	fatal := 0
	for _, damage := range found.Damages {
		if damage.File == d.dir || damage.Detail == "" {
			t.Errorf("verify says %+v", damage)
		}
		if damage.Fatal {
			fatal++
		}
	}
	if (fatal == 0) != opens {
		t.Errorf("verify counts %d losses: %+v", fatal, found.Damages)
	}
	if !opens && !late {
		if _, err := openWith(d.dir, d.opts); !errors.Is(err, dedup.ErrCorrupt) {
			t.Fatalf("open over the damage: %v", err)
		}
	}
	before := faultList(t, d.dir)
	segments := map[uint64]bool{}
	if m, err := persist.ReadManifest(vfs.OS(), d.dir); err == nil { // others were never promised
		segments = segmentIDs(m)
	}
	ro := inspect.RepairOptions{DryRun: true, Now: d.clock.now, Window: d.opts.Window}
	plan, err := inspect.Repair(ctx, d.dir, ro)
	if err != nil || plan.Done || len(plan.Actions) == 0 {
		t.Fatalf("dry run: %+v, %v", plan, err)
	}
	if after := faultList(t, d.dir); !slices.Equal(before, after) {
		t.Errorf("a dry run made %v of %v", after, before)
	}
	ro.DryRun = false
	done, err := inspect.Repair(ctx, d.dir, ro)
	if err != nil || !done.Done || !slices.Equal(done.Actions, plan.Actions) {
		t.Fatalf("repair: %+v, planned %v, %v", done, plan.Actions, err)
	}
	if found, err := inspect.Verify(ctx, d.dir, nil); err != nil || len(found.Damages) > 0 || (len(found.Gaps) == 0) != opens {
		t.Fatalf("verify after the repair: %+v, %v", found, err)
	}
	if again, err := inspect.Repair(ctx, d.dir, ro); err != nil || again.Done {
		t.Fatalf("a second repair: %+v, %v", again, err)
	}
	allThere := func(when string) { // what is given up is moved, not removed
		for id := range segments {
			name := filepath.Base(persist.SegmentPath(d.dir, id))
			if !slices.Contains(faultList(t, d.dir), name) && (done.Aside == "" || !slices.Contains(faultList(t, done.Aside), name)) {
				t.Errorf("%s is gone after %s", name, when)
			}
		}
	}
	allThere("the repair")
	if opens {
		return
	}
	if _, err := openWith(d.dir, d.opts); !errors.Is(err, dedup.ErrCorrupt) || !strings.Contains(err.Error(), "known to be incomplete") {
		t.Fatalf("open over a gap that was not accepted: %v", err)
	}
	for range 2 { // what the first run writes must not hide the gap from the second
		marked, others, gaps := d.look(t, Report)
		if len(gaps) == 0 || marked[dedup.Fresh] > 0 || !some && others[dedup.Unknown] == 0 || marked[dedup.Duplicate] < keeps || (others[dedup.Fresh] > 0) != some {
			t.Fatalf("report: marked %v, others %v, gaps %v", marked, others, gaps)
		}
	}
	ro.Accept = true
	if done, err := inspect.Repair(ctx, d.dir, ro); err != nil || !done.Accepted {
		t.Fatalf("accepting: %+v, %v", done, err)
	}
	marked, others, gaps := d.look(t, Refuse)
	if len(gaps) == 0 || marked[dedup.Unknown]+others[dedup.Unknown] > 0 || marked[dedup.Duplicate] < keeps {
		t.Fatalf("accepted: marked %v, others %v, gaps %v", marked, others, gaps)
	}
	allThere("the next opening")
	// The gap goes with its generation.
	d.clock.advance(2 * d.opts.Window)
	e := faultOpen(t, d.dir, d.opts)
	if v, err := e.Admit(ctx, []byte("new")); v != dedup.Fresh || err != nil {
		t.Fatal(v, err)
	}
	defer func() {
		if t.Failed() {
			e.store.view(func(m *persist.Manifest) {
				t.Logf("manifest %+v; in memory %+v, rotated %v", m, e.window.held(), e.rotated.Load())
			})
		}
	}()
	faultWait(t, "the gap's end", func() bool { return !e.gapHeld() })
	faultClose(t, e)
}

func faultList(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestRepairIdentity(t *testing.T) {
	d := newDamagedDir(t, Exact)
	faultFlip(t, filepath.Join(d.dir, persist.IdentityName), 30)
	if _, err := inspect.Repair(context.Background(), d.dir, inspect.RepairOptions{}); !errors.Is(err, dedup.ErrCorrupt) || !strings.Contains(err.Error(), "seed") {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.dir, "damaged-1")); !errors.Is(err, os.ErrNotExist) {
		t.Error("something was moved")
	}
}
