package engine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/sabotage"
	"github.com/firstseen/firstseen/persist"
)

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
				if _, err := Open(d.dir, d.opts); !errors.Is(err, dedup.ErrCorrupt) {
					p.errorf("%v mode: an opening that refuses gaps gives %v", mode, err)
				}
			}
		}
	}, sabotage.IgnoreGap)
}
