package topkeys

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestSketch compares with exact counts: none is too small, none too large by more than
// it says, no error is above the bound, and what is frequent enough is there.
func TestSketch(t *testing.T) {
	for _, c := range []struct{ counters, keys, n int }{{1, 3, 100}, {10, 10, 1000}, {50, 5000, 100_000}, {100, 101, 10_000}} {
		rng := rand.New(rand.NewPCG(1, uint64(c.counters)))
		zipf := rand.NewZipf(rng, 1.2, 1, uint64(c.keys-1))
		s, exact := New(c.counters), map[string]uint64{}
		for range c.n {
			key := fmt.Sprint(zipf.Uint64())
			s.Add([]byte(key))
			exact[key]++
		}
		top := s.Top(c.counters)
		bound := uint64(c.n / c.counters)
		held := map[string]bool{}
		for i, e := range top {
			held[e.Key] = true
			if e.Count < exact[e.Key] || e.Count-e.Error > exact[e.Key] || e.Error > bound {
				t.Fatalf("%+v: %+v, exactly %d, bound %d", c, e, exact[e.Key], bound)
			}
			if i > 0 && e.Count > top[i-1].Count {
				t.Fatalf("%+v: not in order: %+v after %+v", c, e, top[i-1])
			}
			if len(exact) <= c.counters && e.Error > 0 {
				t.Fatalf("%+v: %+v is not exact", c, e)
			}
		}
		for key, n := range exact {
			if n > bound && !held[key] {
				t.Fatalf("%+v: %q, counted %d times, is not there", c, key, n)
			}
		}
	}
	if top := New(0).Top(3); len(top) != 0 {
		t.Fatalf("got %v of nothing", top)
	}
}
