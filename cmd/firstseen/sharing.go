package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

const (
	// firstAsk and lastAsk are the shortest and the longest wait for another run.
	firstAsk = 10 * time.Millisecond
	lastAsk  = time.Second
)

// sharing marks keys in a store that other runs use at the same time, when their batch
// is written.
//
// A key that another run holds is waited for: it becomes a duplicate when that run has
// written its batch, or fresh when it has died and its lease ends. While it waits, a
// run holds nothing itself, or two could wait for each other.
type sharing struct {
	guard  dedup.Guard
	first  map[string]int // each key of the batch: where it comes first
	keys   [][]byte       // these, once each
	at     []int          // of each key of the batch: its place in keys
	claims []dedup.Claim
	keeper dedup.Keeper // extends the leases while a slow reader takes the batch
}

func (s *sharing) decide(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	s.first, s.keys, s.at = make(map[string]int, len(keys)), s.keys[:0], s.at[:0]
	for _, key := range keys {
		n, known := s.first[string(key)]
		if !known {
			n = len(s.keys)
			s.first[string(key)] = n
			s.keys = append(s.keys, key)
		}
		s.at = append(s.at, n)
	}
	for wait := firstAsk; ; wait = min(2*wait, lastAsk) {
		var err error
		s.claims, err = s.guard.ClaimBatch(ctx, s.claims[:0], s.keys)
		if err != nil {
			return vs, err
		}
		if !s.othersHold() {
			break
		}
		if err := s.guard.Release(ctx, s.claims...); err != nil {
			s.claims = s.claims[:0]
			return vs, err
		}
		s.claims = s.claims[:0]
		t := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-ctx.Done():
			t.Stop()
			return vs, ctx.Err()
		case <-t.C:
		}
	}
	s.keeper.Start(ctx, s.guard, 0, s.claims...)
	taken := make([]bool, len(s.keys))
	for _, n := range s.at {
		v := s.claims[n].Verdict
		if v == dedup.Fresh && taken[n] {
			v = dedup.Duplicate // of an earlier record of this batch
		}
		taken[n] = true
		vs = append(vs, v)
	}
	return vs, nil
}

func (s *sharing) othersHold() bool {
	for i := range s.claims {
		if s.claims[i].Verdict == dedup.InFlight {
			return true
		}
	}
	return false
}

func (s *sharing) commit(ctx context.Context) error {
	s.keeper.Stop()
	return s.brief(s.guard.Commit(ctx, s.claims...))
}

// brief says of many lost claims how many they are.
func (s *sharing) brief(err error) error {
	if lost := len(dedup.IndexesOf(err, dedup.ErrLeaseLost)); lost > 1 {
		return fmt.Errorf("%d of %d keys: %w; a longer --lease leaves a slow store or reader more time", lost, len(s.claims), dedup.ErrLeaseLost)
	}
	return err
}

func (s *sharing) release(ctx context.Context) error {
	s.keeper.Stop()
	return s.brief(s.guard.Release(ctx, s.claims...))
}

// wrongRate is 0: a store compares whole keys.
func (s *sharing) wrongRate() float64 { return 0 }
