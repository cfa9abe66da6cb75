package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// faultResult is the result of a key: from none to some hundred bytes.
func faultResult(n uint64) string {
	if n%5 == 0 {
		return ""
	}
	return strings.Repeat(fmt.Sprintf("result of %d ", n), int(n%20)+1)
}

// childResults claims new keys and commits them with their results, in three goroutines, and
// looks whether older ones still have theirs.
func childResults(c childConfig, out *childOutput) {
	var old []keyRange
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		var k keyRange
		if n, _ := fmt.Sscan(s.Text(), &k.from, &k.n, &k.at); n == 3 {
			old = append(old, k)
		}
	}
	opts := c.options()
	opts.phase = c.phases(out)
	next := c.from
	for life := 0; ; life++ {
		done := opts.phase("open")
		e, err := openWith(c.dir, opts)
		done()
		if err != nil {
			out.printf("e open: %v", err)
			return
		}
		var mu sync.Mutex
		take := func(n uint64) uint64 {
			mu.Lock()
			defer mu.Unlock()
			next += n
			return next - n
		}
		var wg sync.WaitGroup
		for g := range 3 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(c.seed, uint64(100*life+g)))
				for range max(c.batches, 1) {
					if err := childResultBatch(e, rng, take, old, out); err != nil {
						out.printf("e %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		done = opts.phase("close")
		if err := e.Close(); err != nil {
			out.printf("e close: %v", err)
			return
		}
		done()
	}
}

func childResultBatch(e *Engine, rng *rand.Rand, take func(uint64) uint64, old []keyRange, out *childOutput) error {
	ctx := context.Background()
	n := uint64(1 + rng.IntN(100))
	from, at := take(n), e.clock.read()
	out.printf("t %d %d %d .", from, n, at)
	cs, err := e.ClaimBatch(ctx, nil, faultKeys(from, n))
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	for i := range cs {
		if cs[i].Verdict != dedup.Fresh {
			out.printf("bad key %d, never tried before, is %v", from+uint64(i), cs[i].Verdict)
		}
		cs[i].Result = []byte(faultResult(from + uint64(i)))
	}
	if err := e.Commit(ctx, cs...); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	out.acked(e, from, n, at)
	if len(old) == 0 {
		return nil
	}
	for range 5 {
		k := old[rng.IntN(len(old))]
		key := k.from + rng.Uint64N(k.n)
		c, err := e.Claim(ctx, faultKey(key))
		if e.clock.read()-k.at >= int64(childWindow) {
			continue
		}
		if c.Verdict != dedup.Duplicate || err != nil || string(c.Result) != faultResult(key) {
			out.printf("bad key %d was acknowledged with a result, now it is %v with %.40q, %v", key, c.Verdict, c.Result, err)
			return errors.New("missed")
		}
	}
	return nil
}

// TestFaultsResults kills a child in the middle of commits with results: no key is marked without
// its result, and no result without its key is ever answered.
func TestFaultsResults(t *testing.T) {
	runFaults(t, func(p *faultPart) { newResultFaults(p, filepath.Join(t.TempDir(), "seen")).kills(faultScale(20, 200)) })
}

// resultFaults is the same directory through many crashes.
type resultFaults struct {
	p       *faultPart
	l       *ledger
	rng     *rand.Rand
	dir     string
	plain   []keyRange // marked by the parent, without results, after a crash kept the child from it
	before  uint64     // keys tried before the last child
	orphans int
}

func newResultFaults(p *faultPart, dir string) *resultFaults {
	return &resultFaults{p: p, dir: dir, rng: rand.New(rand.NewPCG(5, 6)),
		l: &ledger{p: p, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()}}
}

// child describes the next child.
func (r *resultFaults) child(cycle int, sync Sync) childConfig {
	r.before = r.l.tried
	return childConfig{scenario: "results", dir: r.dir, from: r.l.tried, now: r.l.now, speed: 1500, sync: sync,
		seed: uint64(cycle), batches: 1 + r.rng.IntN(60)}
}

func (r *resultFaults) kills(cycles int) {
	p, phases := r.p, []string{"result", "open", "result", "flush", "result", "rotation", "result", "close"}
	for cycle := 0; cycle < cycles; cycle++ {
		c := r.child(cycle, Sync(r.rng.IntN(3)))
		if cycle%4 > 0 {
			c.killIn = phases[cycle/4*3%len(phases)]
			if cycle%4 < 3 {
				c.killIn = "result"
			}
		}
		cmd, stdout := startChild(p.t, c, r.l.stdin(r.l.alive(c.now, childWindow)))
		timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		if c.killIn == "" {
			life := time.Duration(r.rng.IntN(500)) * time.Millisecond
			r.l.first = func() { timer.Reset(life) }
		}
		r.l.read(stdout)
		timer.Stop()
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() >= 0 && len(p.mu.fails) == 0 {
			p.errorf("cycle %d: the child ended by itself: %v", cycle, cmd.ProcessState)
		}
		p.count("kills", 1)
		if r.l.in["result"] > 0 {
			p.count("kills between a result and its mark", 1)
		}
		if !r.check(c) {
			p.errorf("that was cycle %d, sync %v", cycle, c.sync)
			return
		}
	}
	p.count("keys acknowledged", int(r.l.keys))
	p.count("commits that a crash kept from marking: keys", r.orphans)
	if r.orphans == 0 {
		p.errorf("no crash kept a key from its mark")
	}
}

// check opens the directory as the next life does and claims keys: all that the last child tried, and
// some that are older.
func (r *resultFaults) check(c childConfig) bool {
	p, l := r.p, r.l
	c.now = l.now // and stays there while it is open
	opts := c.options()
	opts.Now = func() time.Time { return time.Unix(0, c.now) }
	opts.Sync = SyncAlways
	e, err := openWith(c.dir, opts)
	if err != nil {
		p.errorf("open: %v", err)
		return false
	}
	defer e.crash(p.t)
	l.now = max(l.now, e.clock.read())
	acked := map[uint64]bool{}
	for _, k := range l.alive(l.now, childWindow) {
		for n := k.from; n < k.from+k.n; n++ {
			acked[n] = true
			if n >= r.before || r.rng.IntN(50) == 0 {
				r.claim(e, n, faultResult(n), true)
			}
		}
	}
	for _, k := range r.plain {
		if l.now-k.at < int64(childWindow) && r.rng.IntN(10) == 0 {
			r.claim(e, k.from, "", true)
		}
	}
	for n := r.before; n < l.tried; n++ {
		if !acked[n] {
			r.claim(e, n, faultResult(n), false)
		}
	}
	return len(p.mu.fails) == 0
}

// claim asks for one key. It must be marked with its result; one that was not acknowledged may be
// fresh, and then it is marked without one, which must be what is answered from then on.
func (r *resultFaults) claim(e *Engine, n uint64, result string, acknowledged bool) {
	ctx := context.Background()
	c, err := e.Claim(ctx, faultKey(n))
	r.p.count("keys claimed", 1)
	switch {
	case err == nil && c.Verdict == dedup.Duplicate && string(c.Result) == result:
	case err == nil && c.Verdict == dedup.Fresh && !acknowledged:
		r.orphans++
		at := e.clock.read()
		if err := e.Commit(ctx, c); err != nil {
			r.p.errorf("commit: %v", err)
		}
		r.plain = append(r.plain, keyRange{from: n, n: 1, at: at})
		if c, err = e.Claim(ctx, faultKey(n)); c.Verdict != dedup.Duplicate || c.Result != nil || err != nil {
			r.p.errorf("key %d was marked without a result after a crash: %v with %.40q, %v", n, c.Verdict, c.Result, err)
		}
	default:
		r.p.errorf("key %d (acknowledged %t): %v with %.40q, %v, want %.40q", n, acknowledged, c.Verdict, c.Result, err, result)
	}
}
