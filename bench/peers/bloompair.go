package peers

import (
	"context"
	"sync"
	"time"

	"github.com/bits-and-blooms/bloom/v3"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/dedup"
)

// pairRate is the false-positive rate that each of the two filters is sized
// for, when it holds a window's keys.
const pairRate = 0.001

func bloomPairCandidate() bench.Candidate {
	return bench.Candidate{
		Name: "bloom-pair", About: "two rotating bits-and-blooms filters under a mutex, each for a window at 0.1 %",
		Class: bench.Memory, Approximate: true, Expires: false,
		Modules: []string{"github.com/bits-and-blooms/bloom/v3"},
		Open: func(_ context.Context, s bench.Setup) (bench.Target, error) {
			n := uint(max(s.Keys, 1000))
			t := &bloomPair{now: s.Now, window: s.Window}
			t.mu.turned = s.Now()
			t.mu.current = bloom.NewWithEstimates(n, pairRate)
			t.mu.previous = bloom.NewWithEstimates(n, pairRate)
			return t, nil
		},
	}
}

// bloomPair remembers a key for one window at least and two at most: longer
// than bench's Expired workload allows, so it isn't offered that one.
type bloomPair struct {
	now    func() time.Time
	window time.Duration

	mu struct {
		sync.Mutex
		turned            time.Time // when current was begun
		current, previous *bloom.BloomFilter
		rotations         uint64
	}
}

func (t *bloomPair) Admit(_ context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.now(); now.Sub(t.mu.turned) >= t.window {
		t.mu.current, t.mu.previous = t.mu.previous, t.mu.current
		t.mu.current.ClearAll()
		t.mu.turned = now
		t.mu.rotations++
	}
	for _, key := range keys {
		if t.mu.previous.Test(key) {
			vs = append(vs, dedup.Duplicate)
			continue
		}
		vs = append(vs, verdictOf(t.mu.current.TestOrAdd(key)))
	}
	return vs, nil
}

func (t *bloomPair) Usage() bench.Usage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bench.Usage{Memory: int64(t.mu.current.Cap()+t.mu.previous.Cap()) / 8, Rotations: t.mu.rotations}
}

func (t *bloomPair) Close() error { return nil }
