package engine

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// TestFaultsSuspend lets the wall run on by hours while the monotonic clock stands,
// with kills, closings and openings between: no key is forgotten that is younger
// than the window, and no lease ends in the meantime (I4).
func TestFaultsSuspend(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		for seed := range uint64(faultScale(2, 300)) {
			if p.done() {
				return
			}
			suspendSeed(p, seed)
		}
	})
}

// suspended is an engine on a machine that is suspended now and then.
type suspended struct {
	p     *faultPart
	seed  uint64
	rng   *rand.Rand
	e     *Engine
	wall  *fakeClock
	mono  atomic.Int64
	marks []suspendMark
}

// suspendMark is when keys were marked, by the wall.
type suspendMark struct {
	from uint64
	wall int64
}

// pass lets time pass: on the wall alone while the machine is suspended.
func (s *suspended) pass(d time.Duration, suspended bool) {
	s.wall.advance(d)
	if !suspended {
		s.mono.Add(int64(d))
	}
}

func suspendSeed(p *faultPart, seed uint64) {
	s := &suspended{p: p, seed: seed, rng: rand.New(rand.NewPCG(seed, 6)), wall: newFakeClock()}
	opts := config{Options: Options{
		Window:      time.Hour,
		Capacity:    500,
		Generations: 3 + s.rng.IntN(6),
		BitsPerKey:  64,
		Shards:      2,
		Sync:        SyncNone,
		MinFreeDisk: -1,
		Now:         s.wall.now,
	}, hooks: hooks{
		passed:    func() time.Duration { return time.Duration(s.mono.Load()) },
		tableKeys: 200,
		ringBytes: 128 << 10,
	}}
	dir := p.t.TempDir()
	s.e = faultOpen(p.t, dir, opts)
	defer func() { _ = s.e.Close() }()
	for range 100 {
		s.pass(time.Duration(s.rng.Int64N(int64(5*time.Minute))), false)
		if s.rng.IntN(8) == 0 && !s.suspend() {
			return
		}
		if !s.mark() {
			return
		}
		if s.rng.IntN(10) == 0 {
			if s.rng.IntN(3) == 0 {
				faultClose(p.t, s.e)
			} else {
				s.e.crash(p.t)
			}
			s.pass(time.Duration(s.rng.Int64N(int64(5*time.Minute))), false)
			s.e = faultOpen(p.t, dir, opts)
			p.count("restarts", 1)
		}
		if !s.check() {
			return
		}
	}
}

// suspend holds a claim over a suspend.
func (s *suspended) suspend() bool {
	key := []byte("claimed")
	c, err := s.e.Claim(ctx, key)
	if err != nil || c.Verdict != dedup.Fresh {
		s.p.errorf("seed %d: a claim: %v, %v", s.seed, c.Verdict, err)
		return false
	}
	s.pass(time.Duration(1+s.rng.IntN(100))*time.Hour, true)
	s.p.count("suspends", 1)
	if v, err := s.e.Admit(ctx, key); v != dedup.InFlight {
		s.p.errorf("seed %d: after a suspend a claimed key is %v, %v", s.seed, v, err)
		return false
	}
	if err := s.e.Release(ctx, c); err != nil {
		s.p.errorf("seed %d: after a suspend a claim is not released: %v", s.seed, err)
		return false
	}
	return true
}

func (s *suspended) mark() bool {
	from := uint64(8 * len(s.marks))
	if _, err := s.e.AdmitBatch(ctx, nil, faultKeys(from, 8)); err != nil {
		s.p.errorf("seed %d: %v", s.seed, err)
		return false
	}
	s.marks = append(s.marks, suspendMark{from, s.wall.now().UnixNano()})
	return true
}

// check asks for all keys that are younger than the window by the wall: by the
// engine's clock, which passes suspends over, they are no older.
func (s *suspended) check() bool {
	for _, m := range s.marks {
		age := time.Duration(s.wall.now().UnixNano() - m.wall)
		if age >= s.e.opts.Window {
			continue
		}
		found := s.p.checkKeys(s.e, "after a suspend", faultKeys(m.from, 8), nil)
		if s.p.count("keys of the window asked for", found); found < 8 {
			s.p.errorf("seed %d: they were marked %v ago", s.seed, age)
			return false
		}
	}
	return true
}
