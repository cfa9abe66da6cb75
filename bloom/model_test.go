package bloom

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/firstseen/firstseen/internal/prefetch"
)

// pickOrder draws from orders that meet often, lie at the ends of the range or
// have the zero low bits of a shard's orders.
func pickOrder(rng *rand.Rand) uint64 {
	switch rng.IntN(8) {
	case 0:
		return 0
	case 1:
		return math.MaxUint64
	case 2:
		return ^uint64(15)
	default:
		return rng.Uint64N(400) << 55 >> rng.IntN(2) &^ 15
	}
}

// TestFilterAgainstModel: through additions, merges, resets and clearings in any
// order no added key is ever missed, and a slot that was reset says nothing of
// what it held.
func TestFilterAgainstModel(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind, generations int) {
		for seed := range uint64(6) {
			rng := rand.New(rand.NewPCG(seed, 7))
			keys := []uint64{1, 2000, 30_000}[seed%3]
			m := newModel(t, kind, Config{Keys: keys, BitsPerKey: 24, Generations: generations, Hashes: int(seed % 6)})
			for range 1000 {
				m.step(rng)
			}
			m.check()
		}
	})
}

type model struct {
	t      *testing.T
	f      batcher
	keys   []map[uint64]bool // by slot: added since its reset
	empty  []bool            // by slot: certainly nothing was added since its reset
	orders []uint64
	masks  []uint8
}

func newModel(t *testing.T, kind Kind, c Config) *model {
	m := &model{t: t, f: open(t, kind, c), empty: make([]bool, c.Generations)}
	switch f := m.f.(type) { // steps so small that clearing takes many
	case *sliced:
		f.sweep.step = 1
	case *compact:
		f.sweep.step = 1
	}
	for slot := range c.Generations {
		m.keys = append(m.keys, map[uint64]bool{})
		m.empty[slot] = true
	}
	return m
}

func (m *model) step(rng *rand.Rand) {
	slot := rng.IntN(len(m.keys))
	switch op := rng.IntN(100); {
	case op < 30:
		order := pickOrder(rng)
		m.f.Add(slot, order)
		m.added(slot, order)
	case op < 50:
		m.orders = m.orders[:0]
		for range rng.IntN(40) {
			m.orders = append(m.orders, pickOrder(rng))
		}
		m.f.Prefetch(m.orders)
		m.f.AddBatch(slot, m.orders)
		m.added(slot, m.orders...)
	case op < 53:
		m.addAbsent(slot, rng)
	case op < 58:
		m.merge(slot, rng.IntN(len(m.keys)), rng)
	case op < 67:
		m.f.ClearStep()
	case op < 69:
		m.f.Reset(slot)
		clear(m.keys[slot])
		m.empty[slot] = true
		m.check()
	case op < 71:
		m.check()
	default:
		m.checkOne(pickOrder(rng), m.f.Maybe)
	}
}

// addAbsent adds some keys to a slot if no slot of some may hold them.
func (m *model) addAbsent(slot int, rng *rand.Rand) {
	m.t.Helper()
	held := uint8(rng.Uint32())&uint8(1<<len(m.keys)-1) | 1<<slot
	m.orders = m.orders[:0]
	for range rng.IntN(40) {
		m.orders = append(m.orders, pickOrder(rng))
	}
	m.masks = append(m.masks[:0], make([]uint8, len(m.orders))...)
	m.f.AddAbsent(slot, held, 0, m.masks, m.orders, &prefetch.Queue{Filter: m.f, Orders: m.orders[rng.IntN(len(m.orders)+1):]})
	for i, order := range m.orders {
		for slot, keys := range m.keys {
			if keys[order] && held>>slot&1 != 0 && m.masks[i]>>slot&1 == 0 {
				m.t.Fatalf("order %#x was added to slot %d and is not found", order, slot)
			}
		}
		if m.masks[i] == 0 {
			m.added(slot, order)
		}
	}
}

func (m *model) added(slot int, orders ...uint64) {
	for _, order := range orders {
		m.keys[slot][order] = true
		m.empty[slot] = false
	}
}

// merge copies part or all of one slot into another through a column.
func (m *model) merge(from, to int, rng *rand.Rand) {
	size := m.f.SlotBytes()
	if rng.IntN(2) == 0 { // any part must be allowed, though it brings no whole key
		off := rng.IntN(size/8) * 8
		part := make([]byte, rng.IntN((size-off)/8+1)*8)
		m.f.ReadSlot(from, off, part)
		m.f.MergeSlot(to, off, part)
		m.empty[to] = m.empty[to] && m.empty[from]
		return
	}
	column := make([]byte, size)
	m.f.ReadSlot(from, 0, column)
	m.f.MergeSlot(to, 0, column)
	for order := range m.keys[from] {
		m.added(to, order)
	}
	m.empty[to] = m.empty[to] && m.empty[from]
}

func (m *model) check() {
	m.t.Helper()
	m.orders = m.orders[:0]
	for _, keys := range m.keys {
		for order := range keys {
			m.orders = append(m.orders, order)
		}
	}
	m.masks = append(m.masks[:0], make([]uint8, len(m.orders))...)
	prefetched := func(masks []uint8, orders []uint64) { m.f.MaybePrefetched(masks, orders, nil) }
	for _, ask := range []func([]uint8, []uint64){m.f.MaybeBatch, prefetched} {
		clear(m.masks)
		ask(m.masks, m.orders)
		for i, order := range m.orders {
			m.checkOne(order, func(uint64) uint8 { return m.masks[i] })
		}
	}
	for slot, empty := range m.empty {
		fill := m.f.Fill(slot)
		if empty && fill != 0 {
			m.t.Fatalf("slot %d is empty and has fill %v", slot, fill)
		}
		if sampled := m.f.SlotBytes() > 8*sampleWords; len(m.keys[slot]) > 0 && fill == 0 && !sampled {
			m.t.Fatalf("slot %d holds keys and has fill 0", slot)
		}
	}
}

func (m *model) checkOne(order uint64, maybe func(uint64) uint8) {
	m.t.Helper()
	mask := maybe(order)
	if mask>>len(m.keys) != 0 {
		m.t.Fatalf("order %#x: mask %08b has slots that don't exist", order, mask)
	}
	for slot, keys := range m.keys {
		switch maybe := mask>>slot&1 != 0; {
		case keys[order] && !maybe:
			m.t.Fatalf("order %#x was added to slot %d and is not found", order, slot)
		case m.empty[slot] && maybe:
			m.t.Fatalf("order %#x is found in slot %d, which is empty", order, slot)
		}
	}
}
