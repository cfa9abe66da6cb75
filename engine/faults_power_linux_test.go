package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/internal/mounttest"
)

// TestFaultsPowerLoss cuts the power of an ext4 file system in a file, under a
// child that marks with SyncAlways: nothing that was acknowledged may be lost.
func TestFaultsPowerLoss(t *testing.T) {
	runFaults(t, func(p *faultPart) { newPower(p, SyncAlways).cycles(faultScale(10, 300)) })
}

// TestFaultsPowerLossInterval does so with SyncInterval: what is lost was
// acknowledged within the last interval, and the next opening says so.
func TestFaultsPowerLossInterval(t *testing.T) {
	runFaults(t, func(p *faultPart) { newPower(p, SyncInterval).cycles(faultScale(5, 60)) })
}

// power is a machine that loses its power again and again.
type power struct {
	p    *faultPart
	l    *ledger
	rng  *rand.Rand
	disk *mounttest.Disk
	sync Sync
	boot [16]byte // of the machine's present life: the kernel's own stays the same
	cut  int64    // when the power went, by the wall
	lost int
	ago  time.Duration // the longest time before a cut that a lost key was acknowledged
}

func newPower(p *faultPart, sync Sync) *power {
	return &power{p: p, sync: sync, rng: rand.New(rand.NewPCG(3, 4)), disk: newLoopDisk(p.t, 256<<20),
		l: &ledger{p: p, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()}}
}

func (w *power) cycles(n int) {
	p := w.p
	// On a slow machine it may take more cuts until one takes a key.
	unlucky := func(cycle int) bool {
		return w.sync == SyncInterval && w.lost == 0 && cycle < 8*n
	}
	for cycle := 0; cycle < n || unlucky(cycle); cycle++ {
		w.boot[0], w.boot[1] = byte(cycle), byte(cycle>>8)+1
		c := childConfig{scenario: "load", dir: filepath.Join(w.disk.Dir, "seen"), from: w.l.tried, now: w.l.now, speed: 1500, sync: w.sync,
			seed: uint64(cycle), batches: 5 + w.rng.IntN(60), boot: w.boot}
		life := time.Duration(w.rng.IntN(400)) * time.Millisecond
		w.l.from = cutsAfter[cycle%len(cutsAfter)]
		if w.sync == SyncInterval && cycle%2 == 0 {
			w.l.from = "" // what its start takes is no part of its life
			// Nothing but the interval syncs, for much longer than it lasts.
			c.calm, c.speed, c.batches, life = true, 1, 1<<20, 280*childInterval
		}
		before := w.l.keys
		if !w.run(c, life) {
			return
		}
		p.count("power cuts", 1)
		if !w.check(c, w.l.keys > before) {
			p.errorf("that was cycle %d", cycle)
			return
		}
	}
	p.count("keys acknowledged", int(w.l.keys))
	if w.sync == SyncInterval {
		p.count("keys lost", w.lost)
		p.count("ms before the cut, of the lost key acknowledged longest ago", int(w.ago.Milliseconds()))
		if w.lost == 0 {
			p.errorf("no cut took a key")
		}
	}
	w.disk.Unmount()
}

// cutsAfter is what a child says before its life begins to count: anything, which is
// that it is going to open; that marks were acknowledged; that a flush is done. So
// cuts fall into openings, and others never come before there is something to lose.
var cutsAfter = []string{"", "a ", "d flush"}

// run lets a child work and cuts its power, life after the line that the ledger waits for.
func (w *power) run(c childConfig, life time.Duration) bool {
	p := w.p
	cmd, stdout := startChild(p.t, c, w.l.stdin(w.l.alive(w.l.now, childWindow)))
	cut := make(chan error, 1)
	power := sync.OnceFunc(func() {
		w.cut = time.Now().UnixNano()
		cut <- w.disk.CutPower()
		_ = cmd.Process.Kill()
	})
	timer := time.AfterFunc(time.Minute, power)
	w.l.first = func() { timer.Reset(life) }
	fails := len(p.mu.fails)
	w.l.read(stdout)
	_ = cmd.Wait()
	if timer.Stop() {
		p.errorf("the child ended before the power did")
		return false
	}
	if err := <-cut; err != nil {
		faultSkip(p.t, "%v", err)
	}
	// What it says once its disk is gone is no broken promise; missed keys are
	// found later.
	p.mu.fails = p.mu.fails[:fails]
	w.disk.Remount()
	return true
}

// check opens what is left, as the machine's next life does.
func (w *power) check(c childConfig, acknowledged bool) bool {
	p, l := w.p, w.l
	c.now = l.now // and stays there while it is open
	opts := c.options()
	opts.Now = func() time.Time { return time.Unix(0, c.now) }
	opts.bootID = &[16]byte{w.boot[0] + 1, w.boot[1]}
	opts.Sync = SyncAlways // what was at risk is told of the life before
	e, err := openWith(c.dir, opts)
	if err != nil {
		p.errorf("open: %v", err)
		return false
	}
	defer e.crash(p.t)
	l.now = max(l.now, e.clock.read())
	alive := l.alive(l.now, childWindow)
	if w.sync == SyncInterval {
		return w.checkLost(e, alive, c.calm && acknowledged)
	}
	if r := e.Stats().Recovery; r.MayHaveLost != 0 {
		p.errorf("it may have lost marks of %v, with SyncAlways", r.MayHaveLost)
	}
	for _, k := range alive {
		what := fmt.Sprintf("%v after their answer the power was cut, %v after their mark", time.Duration(w.cut-k.wall), time.Duration(l.now-k.at))
		p.count("keys looked up", p.checkKeys(e, what, faultKeys(k.from, k.n), nil))
	}
	return len(p.mu.fails) == 0
}

// overdueMost is in how many intervals the keys may come that were acknowledged
// when a sync was due already: the scheduler's share. A calm child lives for 280.
const overdueMost = 50

// checkLost finds what the cut took. It may be no key
//   - that was acknowledged before the last whole sync began, where the next one
//     began, or was to begin, an interval after it,
//   - that lies outside of what the opening says. After a clean close, or before
//     the child's opening was done, it need not say anything; must says that it has to.
//
// What is lost leaves the ledger: it stays lost.
func (w *power) checkLost(e *Engine, alive []keyRange, must bool) bool {
	p, r := w.p, e.Stats().Recovery
	if says := r.MayHaveLost != 0; must && !says || says && (r.MayHaveLost != childInterval || r.LostSince.IsZero()) {
		p.errorf("the opening says that marks of %v since %v may be lost, the interval was %v", r.MayHaveLost, r.LostSince, childInterval)
		return false
	}
	synced := int64(0)
	for _, s := range w.l.syncs {
		if s.end != 0 && s.end < w.cut {
			synced = max(synced, s.begin)
		}
	}
	if n := w.l.overdue(childInterval, w.cut); n > overdueMost {
		p.errorf("in %d intervals keys were acknowledged and no sync began", n)
	}
	w.l.acked = w.l.acked[:0]
	for _, k := range alive {
		lost := 0
		for _, key := range faultKeys(k.from, k.n) {
			if ok, err := e.Contains(context.Background(), key); err != nil {
				p.errorf("asking for a key: %v", err)
				return false
			} else if !ok {
				lost++
			}
		}
		p.count("keys looked up", int(k.n)-lost)
		ago := time.Duration(w.cut - k.wall)
		told := r.MayHaveLost != 0 && k.end > r.LostSince.UnixNano()
		switch {
		case lost == 0 && told && k.at > r.LostSince.UnixNano():
			p.errorf("marks since %v may be lost, it says, and knows of later ones", r.LostSince)
		case lost == 0:
			w.l.acked = append(w.l.acked, k)
		case k.wall < synced:
			p.errorf("%d keys are lost that were acknowledged %v before a sync", lost, time.Duration(synced-k.wall))
		case !told:
			p.errorf("%d keys are lost that were acknowledged at %v; marks of %v since %v may be, it says",
				lost, time.Unix(0, k.end), r.MayHaveLost, r.LostSince)
		}
		if lost > 0 {
			w.lost += lost
			w.ago = max(w.ago, ago)
		}
	}
	return len(p.mu.fails) == 0
}
