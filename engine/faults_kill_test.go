package engine

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// killPhases are those in which a kill is aimed at.
var killPhases = []string{"open", "flush", "merge", "rotation", "close"}

// TestFaultsKill kills a child under load, again and again over the same directory,
// at random moments and in the middle of each phase: nothing that was acknowledged
// may be missed, nothing that was never tried may be called a duplicate.
func TestFaultsKill(t *testing.T) {
	runFaults(t, func(p *faultPart) { killCycles(p, faultScale(50, 1000), uint64(faultScale(0, 10e6))) })
}

func killCycles(p *faultPart, cycles int, keys uint64) {
	t := p.t
	rng := rand.New(rand.NewPCG(1, 2))
	l := &ledger{p: p, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()}
	dir := filepath.Join(t.TempDir(), "seen")
	c := childConfig{scenario: "load", dir: dir, speed: 1500}
	hits := map[string]int{}
	for cycle := 0; cycle < cycles || l.keys < keys; cycle++ {
		c.from, c.now, c.seed = l.tried, l.now, uint64(cycle)
		c.sync, c.batches, c.killIn = Sync(rng.IntN(3)), 1+rng.IntN(40), ""
		if cycle%2 == 1 {
			c.killIn = killPhases[cycle/2%len(killPhases)]
		}
		cmd, stdout := startChild(t, c, l.stdin(l.alive(c.now, childWindow)))
		// Counted from its first word, which is that it is going to open: the short
		// lives end in Open, the longer ones anywhere.
		life := time.Duration(rng.IntN(faultScale(250, 500))) * time.Millisecond
		timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		if c.killIn == "" {
			l.first = func() { timer.Reset(life) }
		}
		l.read(stdout)
		timer.Stop()
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() >= 0 && len(p.mu.fails) == 0 {
			p.errorf("cycle %d: the child ended by itself: %v", cycle, cmd.ProcessState)
		}
		if len(p.mu.fails) > 0 {
			p.errorf("that was cycle %d, sync %v", cycle, c.sync)
			return
		}
		p.count("kills", 1)
		for _, name := range killPhases {
			if l.in[name] > 0 {
				hits[name]++
			}
		}
	}
	p.count("keys acknowledged", int(l.keys))
	for _, name := range killPhases {
		p.count("kills in "+name, hits[name])
		if hits[name] == 0 {
			p.errorf("no kill came in %s", name)
		}
	}
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
			c := childConfig{scenario: "errors", dir: dir, now: l.now, speed: 1}
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
			e, err := openWith(dir, opts)
			if err != nil {
				p.errorf("sync %d failed: open afterwards: %v", nth, err)
				continue
			}
			for _, k := range l.acked {
				p.count("keys looked up", p.checkKeys(e, "after the failed sync", faultKeys(k.from, k.n), nil))
			}
			faultClose(t, e)
		}
	})
}
