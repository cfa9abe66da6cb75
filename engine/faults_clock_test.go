package engine

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// TestFaultsClock moves the wall back by years, forward and not at all, with
// restarts between: no key that is younger than the window is forgotten (I4), by
// the engine's clock, which never goes back.
func TestFaultsClock(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		for seed := range uint64(faultScale(6, 300)) {
			if p.done() {
				return
			}
			clockSeed(p, seed)
		}
	})
}

func clockSeed(p *faultPart, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 5))
	clock := newFakeClock()
	opts := config{Options: Options{
		Window:      time.Hour,
		Capacity:    500,
		Generations: 3 + rng.IntN(6),
		BitsPerKey:  64,
		Shards:      2,
		Sync:        SyncNone,
		MinFreeDisk: -1,
		Now:         clock.now,
	}, hooks: hooks{
		tableKeys: 200,
		ringBytes: 128 << 10,
	}}
	dir := p.t.TempDir()
	e := faultOpen(p.t, dir, opts)
	defer func() { _ = e.Close() }()
	at := map[uint64]int64{}
	next, last := uint64(0), int64(0)
	for range 150 {
		var d time.Duration
		switch rng.IntN(10) {
		case 0:
			// Not before 1970: an opening refuses such a wall.
			d = max(-time.Duration(rng.IntN(5*365*24))*time.Hour, -clock.now().Sub(time.Unix(0, 0)))
		case 1:
			d = 59 * time.Minute
		case 2, 3: // frozen
		default:
			d = time.Duration(rng.Int64N(int64(4 * time.Minute)))
		}
		clock.advance(d)
		if rng.IntN(15) == 0 {
			if rng.IntN(2) == 0 {
				faultClose(p.t, e)
			} else {
				e.crash(p.t)
			}
			e = faultOpen(p.t, dir, opts)
			p.count("restarts", 1)
		}
		now := e.clock.read()
		if now < last {
			p.errorf("seed %d: the engine's clock went back by %v", seed, time.Duration(last-now))
			return
		}
		last = now
		keys := faultKeys(next, 8)
		if _, err := e.AdmitBatch(context.Background(), nil, keys); err != nil {
			p.fatalf("seed %d: %v", seed, err)
		}
		for i := range keys {
			at[next+uint64(i)] = now
		}
		next += 8
		for n := range next {
			if e.clock.read()-at[n] >= int64(opts.Window) {
				continue
			}
			v, err := e.Admit(context.Background(), faultKey(n))
			if err != nil {
				p.fatalf("seed %d: %v", seed, err)
			}
			if v != dedup.Duplicate && e.clock.read()-at[n] < int64(opts.Window) {
				p.errorf("seed %d: a key of %v ago is %v", seed, time.Duration(e.clock.read()-at[n]), v)
				return
			}
			p.count("keys of the window asked for", 1)
		}
	}
}
