package engine

import (
	"path/filepath"
	"testing"
	"time"
)

// TestFaultsResultsPowerLoss is TestFaultsResults with the power cut instead, and SyncAlways.
func TestFaultsResultsPowerLoss(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		w := newPower(p, SyncAlways)
		r := newResultFaults(p, filepath.Join(w.disk.Dir, "seen"))
		w.l = r.l
		for cycle := 0; cycle < faultScale(8, 30); cycle++ {
			w.boot[0], w.boot[1] = byte(cycle), byte(cycle>>8)+1
			c := r.child(cycle, SyncAlways)
			c.boot = w.boot
			w.l.from = cutsAfter[cycle%len(cutsAfter)]
			if !w.run(c, time.Duration(w.rng.IntN(400))*time.Millisecond) {
				return
			}
			p.count("power cuts", 1)
			c.boot[0]++
			if !r.check(c) {
				p.errorf("that was cycle %d", cycle)
				return
			}
		}
		p.count("keys acknowledged", int(r.l.keys))
		p.count("commits that a cut kept from marking: keys", r.orphans)
		w.disk.Unmount()
	})
}
