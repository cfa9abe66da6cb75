package shards

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
)

// TestConcurrentMarks: many callers mark the same keys in another order each,
// while tables are sealed, flushed and published, generations begin and filters
// grow. Each key is Fresh to exactly one of them (I2).
func TestConcurrentMarks(t *testing.T) {
	const callers, keys, batch = 6, 6000, 50
	h := newBed(t, Config{MaxKeys: 300, MaxSealed: 8, Filter: bloom.Config{Keys: 2000, BitsPerKey: 8}})
	var fresh [keys]atomic.Int32
	stop := make(chan struct{})
	var background, calls sync.WaitGroup
	background.Add(1)
	go func() { // the flusher, who also rotates and grows
		defer background.Done()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if !h.flushOne() {
				h.set.Clear()
			}
			if i%500 == 499 && h.live < 8 {
				h.rotate()
			}
			if i%700 == 699 {
				shard := i % h.c.Shards
				c := h.c.Filter
				c.Keys += uint64(i)
				err := h.set.Grow(shard, c, func(add func(uint64, uint8, []uint64)) error {
					for _, r := range h.runs.list(shard) {
						add(r.generation, r.slots, r.orders)
					}
					return nil
				}, func(moved func(uint8) uint8) { h.runs.moved(shard, moved) })
				if err != nil {
					t.Error(err)
				}
			}
		}
	}()
	for c := range callers {
		calls.Add(1)
		go func() {
			defer calls.Done()
			order := rand.New(rand.NewPCG(uint64(c), 6)).Perm(keys)
			var b Batch
			out := make([]dedup.Verdict, batch)
			for len(order) > 0 {
				part := make([][]byte, batch)
				for i := range part {
					part[i] = key16(order[i])
				}
				b.Out = out
				h.set.Route(&b, part)
				if err := h.set.Admit(context.Background(), &b, 1); err != nil {
					t.Error(err)
					return
				}
				for i, v := range out {
					switch v {
					case dedup.Fresh:
						fresh[order[i]].Add(1)
					case dedup.Duplicate:
					default:
						t.Errorf("key %d: %v", order[i], v)
					}
				}
				order = order[batch:]
			}
		}()
	}
	calls.Wait()
	close(stop)
	background.Wait()
	for i := range fresh {
		if n := fresh[i].Load(); n != 1 {
			t.Fatalf("key %d was Fresh %d times", i, n)
		}
	}
}

// TestConcurrentClaims: of many callers who claim the same keys one gets each;
// what he releases goes to exactly one other; what he commits is a duplicate.
func TestConcurrentClaims(t *testing.T) {
	const callers, keys = 8, 400
	h := newBed(t, Config{})
	var holder, committed [keys]atomic.Int32
	var calls sync.WaitGroup
	for c := range callers {
		calls.Add(1)
		go func() {
			defer calls.Done()
			rng := rand.New(rand.NewPCG(uint64(c), 7))
			for range 4 {
				for _, i := range rng.Perm(keys) {
					claim := h.claim(1<<40, key16(i))[0]
					if claim.Verdict != dedup.Fresh {
						continue
					}
					if n := holder[i].Add(1); n != 1 {
						t.Errorf("key %d has %d holders", i, n)
					}
					commit := rng.IntN(3) == 0
					holder[i].Add(-1)
					if commit {
						if committed[i].Add(1) != 1 {
							t.Errorf("key %d is handled a second time", i)
						}
						if h.commit(claim)[0] {
							t.Errorf("key %d: the claim is lost", i)
						}
					} else if h.release(claim)[0] {
						t.Errorf("key %d: the claim is lost", i)
					}
				}
			}
		}()
	}
	calls.Wait()
	for i := range keys {
		want := dedup.Fresh
		if committed[i].Load() == 1 {
			want = dedup.Duplicate
		}
		if got := h.look(key16(i))[0]; got != want {
			t.Errorf("key %d is %v, want %v", i, got, want)
		}
	}
}
