package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
)

// TestGapBehindSnapshot: a generation's snapshot is of a Close while it was live,
// and what came later is lost: keys that no filter has are Unknown, never new.
func TestGapBehindSnapshot(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprintf("sealed=%v", sealed), func(t *testing.T) {
			clock, dir := newFakeClock(), t.TempDir()
			o := testOptions(clock)
			e := mustOpen(t, dir, o)
			admitAll(t, e, intKeys(0, 500), dedup.Fresh)
			mustClose(t, e)
			e = mustOpen(t, dir, o)
			admitAll(t, e, intKeys(1000, 3000), dedup.Fresh)
			flushAll(t, e)
			if sealed {
				clock.advance(e.opts.span())
				admitAll(t, e, intKeys(9000, 10), dedup.Fresh)
				eventually(t, "the rotation is on disk", func() (on bool) {
					e.store.view(func(m *persist.Manifest) { on = len(m.Generations) == 2 })
					return on
				})
			}
			var gone []string
			e.store.view(func(m *persist.Manifest) {
				for _, s := range m.Generations[0].Segments {
					gone = append(gone, persist.SegmentPath(dir, s.ID))
				}
			})
			e.crash(t)
			for _, path := range gone {
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
			}
			o.OnGap = Report
			e = mustOpen(t, dir, o)
			admitAll(t, e, intKeys(1000, 3000), dedup.Unknown)
		})
	}
}

// TestFaultsGap loses a part of the window and opens the directory with OnGap:
// Report, again and again: no key that was marked in it is called new, whatever
// the openings before wrote.
func TestFaultsGap(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		for _, mode := range []Mode{Exact, Approximate} {
			for _, snapshots := range []bool{true, false} {
				d := newDamagedDir(t, mode)
				err := error(nil)
				if mode == Exact {
					err = os.RemoveAll(filepath.Dir(d.valueLog(t, 0)))
				}
				if !snapshots || mode == Approximate {
					err = errors.Join(err, os.Remove(persist.SnapshotPath(d.dir, 1)))
				}
				if err != nil {
					t.Fatal(err)
				}
				for opening := range 3 {
					marked, others, gaps := d.look(t, Report)
					p.count("openings", 1)
					p.count("keys answered unknown", marked[dedup.Unknown])
					if marked[dedup.Fresh] > 0 || mode == Exact && others[dedup.Duplicate] > 0 || len(gaps) == 0 {
						p.errorf("%v mode, opening %d: of marked keys %v, of others %v, gaps %v", mode, opening, marked, others, gaps)
					}
				}
				if _, err := openWith(d.dir, d.opts); !errors.Is(err, dedup.ErrCorrupt) {
					p.errorf("%v mode: an opening that refuses gaps gives %v", mode, err)
				}
			}
		}
	})
}
