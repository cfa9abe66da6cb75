package shards

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
)

// setModel holds a Set against maps: the generation of each mark, and who holds
// which key until when.
type setModel struct {
	*bed
	rng    *rand.Rand
	marked map[string]uint64
	held   map[string]dedup.Claim
	stale  []dedup.Claim
}

// TestSetModel runs random operations of one caller with a small filter, so that
// many keys are "maybe", small tables, flushes, rotations, growth and restarts.
func TestSetModel(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 5))
			m := &setModel{
				bed: newBed(t, Config{
					Shards:      1 << rng.IntN(5),
					Hasher:      testHasher(rng.IntN(2) == 0),
					Kind:        bloom.Kind(rng.IntN(2)),
					Filter:      bloom.Config{Keys: 100, BitsPerKey: 1 + float64(rng.IntN(8))},
					Generations: 3 + rng.IntN(6),
					MaxKeys:     20 + rng.IntN(200),
				}),
				rng:    rng,
				marked: map[string]uint64{},
				held:   map[string]dedup.Claim{},
			}
			for range 400 {
				m.step()
			}
		})
	}
}

func (m *setModel) keys(n int) [][]byte {
	keys := make([][]byte, 1+m.rng.IntN(n))
	for i := range keys {
		keys[i] = mixedKey(m.rng, 300)
	}
	return keys
}

// isMarked says whether the key counts.
func (m *setModel) isMarked(key string) bool {
	g, ok := m.marked[key]
	return ok && g >= m.oldest
}

// want returns the right verdict; a claim whose lease ended makes way.
func (m *setModel) want(key string) dedup.Verdict {
	if c, ok := m.held[key]; ok {
		if c.Expires.UnixNano() > m.now {
			return dedup.InFlight
		}
		m.stale = append(m.stale, c)
		delete(m.held, key)
	}
	if m.isMarked(key) {
		return dedup.Duplicate
	}
	return dedup.Fresh
}

func (m *setModel) step() {
	m.t.Helper()
	m.now += m.rng.Int64N(20)
	switch op := m.rng.IntN(100); {
	case op < 40:
		keys := m.keys(60)
		for i, v := range m.admit(keys...) {
			if want := m.want(string(keys[i])); v != want {
				m.t.Fatalf("admitting key %d %.40q: %v, want %v", i, keys[i], v, want)
			}
			if v == dedup.Fresh {
				m.marked[string(keys[i])] = m.live
			}
		}
	case op < 55:
		m.claimSome()
	case op < 68:
		m.endSome()
	case op < 75:
		keys := m.keys(30)
		for i, v := range m.look(keys...) {
			if dup := m.isMarked(string(keys[i])); dup != (v == dedup.Duplicate) || !dup && v != dedup.Fresh {
				m.t.Fatalf("looking for key %d %.40q: %v, marked is %v", i, keys[i], v, dup)
			}
		}
	case op < 79:
		key := mixedKey(m.rng, 300)
		m.forget(key)
		delete(m.marked, string(key))
	default:
		m.background()
	}
}

func (m *setModel) claimSome() {
	keys := m.keys(20)
	for i, c := range m.claim(1+m.rng.Int64N(300), keys...) {
		key := string(keys[i])
		want := m.want(key)
		if c.Verdict != want {
			m.t.Fatalf("claiming key %d %.40q: %v, want %v", i, key, c.Verdict, want)
		}
		switch want {
		case dedup.Fresh:
			m.held[key] = c
		case dedup.InFlight:
			if end := m.held[key].Expires; !c.Expires.Equal(end) {
				m.t.Fatalf("key %.40q is held until %v, the claim says %v", key, end.UnixNano(), c.Expires.UnixNano())
			}
		}
	}
}

func (m *setModel) endSome() {
	m.t.Helper()
	ended := m.release
	commit := m.rng.IntN(2) == 0
	if commit {
		ended = m.commit
	}
	var cs []dedup.Claim
	var keys []string
	for key, c := range m.held {
		if m.rng.IntN(3) == 0 {
			cs, keys = append(cs, c), append(keys, key)
		}
	}
	n := len(cs)
	for range m.rng.IntN(4) {
		if len(m.stale) > 0 {
			cs = append(cs, m.stale[m.rng.IntN(len(m.stale))])
		}
	}
	cs = append(cs, dedup.Claim{Verdict: dedup.Fresh}, dedup.Claim{Verdict: dedup.Duplicate})
	lost := ended(cs...)
	for i, l := range lost {
		if want := i >= n && cs[i].Verdict == dedup.Fresh; l != want {
			m.t.Fatalf("ending claim %d of %d (%d are held): lost is %v", i, len(cs), n, l)
		}
	}
	for i, key := range keys {
		delete(m.held, key)
		m.stale = append(m.stale, cs[i])
		if commit {
			m.marked[key] = m.live
		}
	}
}

// background is what others do in use: flushes, rotation, sweeps, growth.
func (m *setModel) background() {
	m.t.Helper()
	switch m.rng.IntN(9) {
	case 0, 1:
		m.flushOne()
	case 2:
		m.flushAll()
	case 3:
		m.rotate()
	case 4:
		if m.live > m.oldest {
			m.retire(m.oldest + 1)
		}
	case 5:
		m.set.Clear()
	case 6:
		before := m.now - m.rng.Int64N(100)
		want := uint64(0)
		for key, c := range m.held {
			if c.Expires.UnixNano() < before {
				want++
				m.stale = append(m.stale, c)
				delete(m.held, key)
			}
		}
		if got := m.set.Sweep(before); got != want {
			m.t.Fatalf("%d claims swept, want %d", got, want)
		}
	case 7:
		m.grow()
	case 8:
		m.restart()
		for key, c := range m.held { // claims live in memory only
			m.stale = append(m.stale, c)
			delete(m.held, key)
		}
		m.stale = nil // the numbers of tokens begin anew here
	}
	m.sizes()
}

func (m *setModel) grow() {
	for shard := range m.c.Shards {
		err := m.set.Grow(shard, m.filterConfig(), func(add func(uint64, uint8, []uint64)) error {
			for _, r := range m.runs.list(shard) {
				add(r.generation, r.slots, r.orders)
			}
			return nil
		}, func(moved func(uint8) uint8) { m.runs.moved(shard, moved) })
		if err != nil {
			m.t.Fatal(err)
		}
	}
}

// filterConfig is a size between the first and eight times it.
func (m *setModel) filterConfig() bloom.Config {
	c := m.c.Filter
	c.Keys = m.c.Filter.Keys * uint64(1+m.rng.IntN(8))
	return c
}

// sizes holds what the set says of itself against the model.
func (m *setModel) sizes() {
	z := m.set.Sizes()
	if z.Claims != len(m.held) {
		m.t.Fatalf("%d claims are held, the set says %d", len(m.held), z.Claims)
	}
	if z.PredictRate < 0 || z.PredictRate > 1 || z.FilterBytes <= 0 {
		m.t.Fatalf("%+v", z)
	}
}
