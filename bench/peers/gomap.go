package peers

import (
	"context"
	"sync"

	"github.com/firstseen/firstseen/bench"
	"github.com/firstseen/firstseen/dedup"
)

func mapCandidate() bench.Candidate {
	return bench.Candidate{
		Name: "gomap", About: "map[string]struct{} under a mutex, locked once per call, never forgets",
		Class: bench.Memory,
		Open: func(context.Context, bench.Setup) (bench.Target, error) {
			t := new(mapTarget)
			t.mu.keys = make(map[string]struct{})
			return t, nil
		},
	}
}

// mapTarget is the baseline that needs no library.
type mapTarget struct {
	mu struct {
		sync.Mutex
		keys map[string]struct{}
	}
}

func (t *mapTarget) Admit(_ context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		if _, ok := t.mu.keys[string(key)]; ok {
			vs = append(vs, dedup.Duplicate)
			continue
		}
		t.mu.keys[string(key)] = struct{}{}
		vs = append(vs, dedup.Fresh)
	}
	return vs, nil
}

func (t *mapTarget) Usage() bench.Usage { return bench.Usage{} }
func (t *mapTarget) Close() error       { return nil }
