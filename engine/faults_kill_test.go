package engine

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/firstseen/firstseen/internal/sabotage"
)

// TestFaultsKill kills a child under load at random moments, again and again over
// the same directory: nothing that was acknowledged may be missed, nothing that
// was never tried may be called a duplicate.
func TestFaultsKill(t *testing.T) {
	runFaults(t, func(p *faultPart) { killCycles(p, faultScale(50, 1000)) }, sabotage.SkipFilterAdd, sabotage.ReleaseEarly)
}

func killCycles(p *faultPart, cycles int) {
	t := p.t
	rng := rand.New(rand.NewPCG(1, 2))
	l := &ledger{p: p, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()}
	dir := filepath.Join(t.TempDir(), "seen")
	c := childConfig{scenario: "load", dir: dir, speed: 1500, fault: p.fault}
	for cycle := range cycles {
		if p.done() {
			return
		}
		c.from, c.now, c.seed = l.tried, l.now, uint64(cycle)
		c.sync, c.batches = Sync(rng.IntN(3)), 1+rng.IntN(40)
		cmd, stdout := startChild(t, c, l.stdin(l.alive(c.now, childWindow)))
		// Counted from its first word, which is that it is going to open: the short
		// lives end in Open, the longer ones anywhere.
		life := time.Duration(rng.IntN(faultScale(250, 500))) * time.Millisecond
		timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		l.first = func() { timer.Reset(life) }
		l.read(stdout)
		timer.Stop()
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() >= 0 && p.fault == sabotage.None && len(p.mu.fails) == 0 {
			p.errorf("cycle %d: the child ended by itself: %v", cycle, cmd.ProcessState)
		}
		if len(p.mu.fails) > 0 {
			p.errorf("that was cycle %d, sync %v", cycle, c.sync)
			return
		}
		p.count("kills", 1)
	}
	p.count("keys acknowledged", int(l.keys))
	// All of them at last.
	c.now = l.now
	opts := c.options()
	opts.Now = func() time.Time { return time.Unix(0, l.now) }
	e := faultOpen(t, dir, opts)
	for _, k := range l.alive(e.clock.read(), childWindow) {
		p.count("keys looked up at the end", p.checkKeys(e, "at the end", faultKeys(k.from, k.n), nil))
	}
	p.checkKeys(e, "at the end", nil, faultKeys(l.tried+1000, 1000))
	faultClose(t, e)
}

// TestFaultsSyncErrors lets the kernel refuse a sync: after it everything is
// refused until the directory is opened again, and nothing acknowledged is lost.
func TestFaultsSyncErrors(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		faultSkip(t, "there is no strace")
	}
	if out, err := exec.Command(strace, "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		faultSkip(t, "strace can't trace here: %s", out)
	}
	runFaults(t, func(p *faultPart) {
		for n := 1; n <= faultScale(8, 100) && !p.done(); n++ {
			l := &ledger{p: p, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()}
			dir := filepath.Join(t.TempDir(), "seen")
			c := childConfig{scenario: "errors", dir: dir, now: l.now, speed: 1, fault: p.fault}
			// One sync of the journal, or all syncs of everything from then on. strace
			// counts for each thread, and none of them makes many more.
			nth := 3 * (1 + (n-1)%40)
			inject := fmt.Sprintf("inject=fdatasync:error=EIO:when=%d", nth+5)
			if n%2 == 0 {
				inject = fmt.Sprintf("inject=fdatasync,fsync,msync:error=EIO:when=%d+", nth)
			}
			cmd, stdout := startChild(t, c, "", strace, "-f", "-qq", "-o", os.DevNull,
				"-e", "trace=fdatasync,fsync,msync", "-e", inject)
			l.read(stdout)
			_ = cmd.Wait()
			p.count("runs", 1)
			opts := c.options()
			e, err := Open(dir, opts)
			if err != nil {
				p.errorf("sync %d failed: open afterwards: %v", nth, err)
				continue
			}
			for _, k := range l.acked {
				p.count("keys looked up", p.checkKeys(e, "after the failed sync", faultKeys(k.from, k.n), nil))
			}
			faultClose(t, e)
		}
	}, sabotage.IgnoreSyncError)
}
