package engine

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// TestFaultsStopped stops a child in the middle of its work, sets its wall forward
// by hours, lets it go on and kills it: as a machine that is suspended. What it
// acknowledged after it woke up is younger than the window, and no lease ended
// while it slept (I4).
func TestFaultsStopped(t *testing.T) {
	runFaults(t, func(p *faultPart) { stopCycles(p, faultScale(8, 300)) })
}

func stopCycles(p *faultPart, cycles int) {
	rng := rand.New(rand.NewPCG(9, 10))
	l := &ledger{p: p}
	c := childConfig{scenario: "stopped", dir: filepath.Join(p.t.TempDir(), "seen"), sync: SyncNone,
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()}
	for cycle := 0; cycle < cycles; cycle++ {
		c.from, c.seed = l.tried, uint64(cycle)
		if err := setWall(c, 0); err != nil {
			p.t.Fatal(err)
		}
		cmd, stdout := startChild(p.t, c, "")
		sleep, before, after := time.Duration(1+rng.IntN(100))*time.Hour, rng.IntN(60), 10+rng.IntN(60)
		l.first = func() {
			go func() {
				<-time.After(time.Duration(20+before) * time.Millisecond)
				err := cmd.Process.Signal(syscall.SIGSTOP)
				if err == nil {
					err = setWall(c, sleep)
				}
				if err == nil {
					err = cmd.Process.Signal(syscall.SIGCONT)
				}
				if err != nil {
					p.errorf("stopping the child: %v", err)
				}
				<-time.After(time.Duration(after) * time.Millisecond)
				_ = cmd.Process.Kill()
			}()
		}
		l.read(stdout)
		_ = cmd.Wait()
		p.count("stops", 1)
		p.checkStopped(l, &c)
		if len(p.mu.fails) > 0 {
			p.errorf("that was cycle %d, stopped for %v", cycle, sleep)
			return
		}
	}
	p.count("keys acknowledged", int(l.keys))
}

// checkStopped opens what is left at the time of the wall at which the child was
// killed, and asks for what is younger than the window by it.
func (p *faultPart) checkStopped(l *ledger, c *childConfig) {
	for _, k := range l.acked {
		c.now = max(c.now, k.wall)
	}
	opts := c.options()
	opts.Now = func() time.Time { return time.Unix(0, c.now) }
	e := faultOpen(p.t, c.dir, opts)
	defer e.crash(p.t)
	for _, k := range l.acked {
		if c.now-k.wall >= int64(childWindow) {
			p.count("keys older than the window by the wall", int(k.n))
			continue
		}
		p.count("keys looked up", p.checkKeys(e, "after a suspend and a kill", faultKeys(k.from, k.n), nil))
	}
}

func wallPath(c childConfig) string { return c.dir + ".wall" }

// setWall says how far the child's wall is ahead of the time that passed.
func setWall(c childConfig, d time.Duration) error {
	tmp := wallPath(c) + ".tmp"
	if err := os.WriteFile(tmp, []byte(strconv.FormatInt(int64(d), 10)), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, wallPath(c))
}

// childStopped marks keys and holds some claims until it is killed.
func childStopped(c childConfig, out *childOutput) {
	begun := time.Now()
	opts := c.options()
	opts.passed = func() time.Duration { return time.Since(begun) }
	opts.Now = func() time.Time {
		b, err := os.ReadFile(wallPath(c))
		if err != nil {
			panic(err)
		}
		ahead, err := strconv.ParseInt(string(b), 10, 64)
		if err != nil {
			panic(err)
		}
		return time.Unix(0, c.now).Add(time.Since(begun) + time.Duration(ahead))
	}
	e, err := openWith(c.dir, opts)
	if err != nil {
		out.printf("e open: %v", err)
		return
	}
	const held = 5
	var claims []dedup.Claim
	for n := uint64(0); ; n++ {
		if err := childClaims(e, fmt.Appendf(nil, "claim %d of child %d", n, c.seed), &claims, held); err != nil {
			out.printf("bad %v", err)
			return
		}
		// Before the mark: one that the stop came behind counts as made before it.
		from, at, wall := c.from+20*n, e.clock.read(), opts.Now().UnixNano()
		out.printf("t %d 20 %d .", from, at)
		if _, err := e.AdmitBatch(ctx, nil, faultKeys(from, 20)); err != nil {
			out.printf("e admit: %v", err)
			return
		}
		out.printf("a %d 20 %d %d %d .", from, at, e.clock.read(), wall)
		<-time.After(time.Millisecond)
	}
}

// childClaims claims a key, finds those before it still claimed, and commits the
// oldest of them.
func childClaims(e *Engine, key []byte, claims *[]dedup.Claim, held int) error {
	c, err := e.Claim(ctx, key)
	if err != nil || c.Verdict != dedup.Fresh {
		return fmt.Errorf("a claim on a new key: %v, %w", c.Verdict, err)
	}
	for _, old := range *claims {
		if v, err := e.Admit(ctx, old.Key); err != nil || v != dedup.InFlight {
			return fmt.Errorf("a claimed key is %v, %w", v, err)
		}
	}
	if *claims = append(*claims, c); len(*claims) > held {
		if err := e.Commit(ctx, (*claims)[0]); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		*claims = (*claims)[1:]
	}
	return nil
}
