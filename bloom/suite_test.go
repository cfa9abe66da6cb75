package bloom

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// eachKind runs a test of the common suite for every kind and for numbers of
// generations with each width of a line, padded ones included.
func eachKind(t *testing.T, test func(t *testing.T, kind Kind, generations int)) {
	for _, kind := range []Kind{Sliced, Compact} {
		for _, generations := range []int{2, 3, 4, 5, 8} {
			t.Run(fmt.Sprintf("kind=%v/generations=%d", kind, generations), func(t *testing.T) { test(t, kind, generations) })
		}
	}
}

func open(t testing.TB, kind Kind, c Config) Filter {
	t.Helper()
	f, err := New(kind, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

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
		return rng.Uint64N(2000) << 53 >> rng.IntN(2) &^ 15
	}
}

// TestFilterAgainstModel: through additions, merges, resets and clearings in any
// order no added key is ever missed, and a slot that was reset says nothing of
// what it held.
func TestFilterAgainstModel(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind, generations int) {
		for seed := range uint64(6) {
			rng := rand.New(rand.NewPCG(seed, 7))
			keys := []uint64{1, 500, 60_000}[seed%3]
			m := newModel(t, kind, Config{Keys: keys, BitsPerKey: 24, Generations: generations, Hashes: int(seed % 6)})
			for range 3000 {
				m.step(rng)
			}
			m.check()
		}
	})
}

type model struct {
	t      *testing.T
	f      Filter
	keys   []map[uint64]bool // by slot: added since its reset
	empty  []bool            // by slot: certainly nothing was added since its reset
	orders []uint64
	masks  []uint8
}

func newModel(t *testing.T, kind Kind, c Config) *model {
	m := &model{t: t, f: open(t, kind, c), empty: make([]bool, c.Generations)}
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
	case op < 55:
		m.merge(slot, rng.IntN(len(m.keys)), rng)
	case op < 75:
		m.f.ClearStep()
	case op < 78:
		m.f.Reset(slot)
		clear(m.keys[slot])
		m.empty[slot] = true
		m.check()
	case op < 80:
		m.check()
	default:
		m.checkOne(pickOrder(rng), m.f.Maybe)
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
	m.f.MaybeBatch(m.masks, m.orders)
	for i, order := range m.orders {
		m.checkOne(order, func(uint64) uint8 { return m.masks[i] })
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

// TestFalsePositiveRate: of a full window as many absent keys are "maybe" as
// PredictRate says, and Rate agrees.
func TestFalsePositiveRate(t *testing.T) {
	test := func(kind Kind, bitsPerKey float64, hashes, generations int) {
		t.Run(fmt.Sprintf("kind=%v/bits=%v/hashes=%d/generations=%d", kind, bitsPerKey, hashes, generations), func(t *testing.T) {
			const keys, probes = 400_000, 1_000_000
			f := open(t, kind, Config{Keys: keys, BitsPerKey: bitsPerKey, Generations: generations, Hashes: hashes})
			rng := rand.New(rand.NewPCG(uint64(hashes), 11))
			for i := range keys {
				f.Add(i%generations, rng.Uint64()<<4)
			}
			found := 0
			for range probes {
				if f.Maybe(rng.Uint64()<<4) != 0 {
					found++
				}
			}
			want := PredictRate(kind, bitsPerKey, hashes, generations)
			got, sigma := float64(found)/probes, math.Sqrt(want/probes)
			// 5 sigma of counting, and 2 % for how this window happens to lie.
			if math.Abs(got-want) > 5*sigma+0.02*want {
				t.Errorf("rate %.5f, predicted %.5f", got, want)
			}
			if r := f.Rate(); math.Abs(r-got) > 0.15*got+5*sigma {
				t.Errorf("Rate() is %.5f, measured %.5f", r, got)
			}
		})
	}
	test(Sliced, 12, 5, 8)
	test(Sliced, 16, 4, 8)
	test(Sliced, 24, 5, 8)
	test(Sliced, 32, 6, 8)
	test(Sliced, 24, 10, 8)
	test(Sliced, 24, 1, 4)
	test(Sliced, 24, 5, 3)
	test(Sliced, 20, 5, 2)
	test(Compact, 12, 5, 8)
	test(Compact, 16, 11, 8)
	test(Compact, 22, 12, 8)
	test(Compact, 10, 32, 4)
	test(Compact, 24, 1, 3)
	test(Compact, 14, 2, 2)
}

// TestResetIsInstant: the moment Reset returns the slot holds nothing, its
// neighbours all they held, and the clearing brings nothing back.
func TestResetIsInstant(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind, generations int) {
		f := open(t, kind, Config{Keys: 8_000_000, BitsPerKey: 8, Generations: generations, Hashes: 3})
		rng := rand.New(rand.NewPCG(1, 1))
		orders := make([]uint64, 20_000)
		for i := range orders {
			orders[i] = rng.Uint64()
		}
		for slot := range generations {
			f.AddBatch(slot, orders)
		}
		all, masks := uint8(1<<generations-1), make([]uint8, len(orders))
		expect := func(when string, want uint8, orders []uint64) {
			t.Helper()
			f.MaybeBatch(masks[:len(orders)], orders)
			for i, order := range orders {
				if masks[i] != want {
					t.Fatalf("%s: mask %08b, want %08b", when, masks[i], want)
				}
				if m := f.Maybe(order); m != want {
					t.Fatalf("%s: single mask %08b, want %08b", when, m, want)
				}
			}
		}
		expect("before", all, orders)
		f.Reset(1)
		expect("after Reset", all&^2, orders)
		if f.Fill(1) != 0 || f.Fill(0) == 0 {
			t.Fatalf("after Reset: fills %v and %v", f.Fill(0), f.Fill(1))
		}
		steps := 0
		for more := true; more; steps++ {
			more = f.ClearStep()
			expect("while clearing", all&^2, orders[:100])
		}
		if steps < 3 {
			t.Fatalf("cleared in %d steps: the test needs a larger filter", steps)
		}
		expect("when cleared", all&^2, orders)

		f.AddBatch(1, orders)
		f.Reset(1) // its column is dirty again
		f.ClearStep()
		f.AddBatch(1, orders[:50])
		f.Reset(0) // finishes the clearing of slot 1 first
		expect("after two Resets", all&^1, orders[:50])
		expect("after two Resets", all&^3, orders[50:])
		for f.ClearStep() {
		}
		expect("after two Resets, cleared", all&^1, orders[:50])
		expect("after two Resets, cleared", all&^3, orders[50:])
	})
}

// TestColumns: ReadSlot in pieces gives the same as at once, shows nothing that
// waits for clearing, and MergeSlot makes the other filter a superset.
func TestColumns(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind, generations int) {
		c := Config{Keys: 300_000, BitsPerKey: 12, Generations: generations}
		f, g := open(t, kind, c), open(t, kind, c)
		rng := rand.New(rand.NewPCG(2, 2))
		old, fresh, others := make([]uint64, 5000), make([]uint64, 500), make([]uint64, 500)
		for _, orders := range [][]uint64{old, fresh, others} {
			for i := range orders {
				orders[i] = rng.Uint64()
			}
		}
		f.AddBatch(1, old)
		f.Reset(1)
		f.ClearStep()
		f.AddBatch(1, fresh)
		column := make([]byte, f.SlotBytes())
		f.ReadSlot(1, 0, column)
		for f.ClearStep() {
		}
		pieces := make([]byte, f.SlotBytes())
		for off := 0; off < len(pieces); {
			n := min(8*(1+rng.IntN(100)), len(pieces)-off)
			f.ReadSlot(1, off, pieces[off:off+n])
			off += n
		}
		if string(column) != string(pieces) {
			t.Fatal("a column read while it is cleared and in pieces afterwards differs")
		}
		g.AddBatch(0, old)
		g.Reset(0)
		g.AddBatch(0, others)
		g.MergeSlot(0, 0, column)
		for range 2 {
			for i, orders := range [][]uint64{fresh, others} {
				for _, order := range orders {
					if g.Maybe(order) != 1 {
						t.Fatalf("list %d: order %#x has mask %08b after the merge", i, order, g.Maybe(order))
					}
				}
			}
			for g.ClearStep() {
			}
		}
		if fill := g.Fill(0); fill > 2*(f.Fill(1)+0.01) {
			t.Errorf("fill %v after the merge: old keys came back", fill)
		}
	})
}

// TestSharedColumnReads is for the race detector: a sealed slot is read while
// others are added to, looked up, reset and cleared.
func TestSharedColumnReads(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind, generations int) {
		f := open(t, kind, Config{Keys: 100_000, BitsPerKey: 16, Generations: generations})
		rng := rand.New(rand.NewPCG(3, 3))
		sealed := rng.Uint64()
		f.Add(1, sealed)
		column := make([]byte, f.SlotBytes())
		f.ReadSlot(1, 0, column)
		done := make(chan []byte)
		go func() {
			again := make([]byte, len(column))
			for range 20 {
				f.ReadSlot(1, 0, again)
				f.Prefetch([]uint64{sealed})
				f.Touch()
			}
			done <- again
		}()
		for range 200 {
			f.Reset(0)
			f.Add(0, rng.Uint64())
			f.ClearStep()
			if f.Maybe(sealed)&2 == 0 {
				t.Error("a sealed key is missing")
			}
		}
		if string(<-done) != string(column) {
			t.Error("a sealed column changed")
		}
	})
}

func TestNoAllocations(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind, generations int) {
		f := open(t, kind, Config{Keys: 100_000, BitsPerKey: 16, Generations: generations})
		orders, masks, column := make([]uint64, 1000), make([]uint8, 1000), make([]byte, 64)
		for i := range orders {
			orders[i] = uint64(i) * remix
		}
		if n := testing.AllocsPerRun(20, func() {
			f.Prefetch(orders)
			f.MaybeBatch(masks, orders)
			f.Maybe(orders[0])
			f.AddBatch(0, orders)
			f.Add(1, orders[0])
			f.Reset(0)
			f.AddBatch(0, orders)
			f.MaybeBatch(masks, orders)
			f.ClearStep()
			f.ReadSlot(1, 0, column)
			f.MergeSlot(0, 0, column)
			f.Fill(0)
			f.Rate()
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestMisusePanics(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind, generations int) {
		f := open(t, kind, Config{Keys: 1000, BitsPerKey: 16, Generations: generations})
		size := f.SlotBytes()
		for name, misuse := range map[string]func(){
			"Add":            func() { f.Add(generations, 0) },
			"AddBatch":       func() { f.AddBatch(-1, nil) },
			"Reset":          func() { f.Reset(generations) },
			"Fill":           func() { f.Fill(8) },
			"MaybeBatch":     func() { f.MaybeBatch(make([]uint8, 1), make([]uint64, 2)) },
			"ReadSlot slot":  func() { f.ReadSlot(generations, 0, make([]byte, 8)) },
			"ReadSlot off":   func() { f.ReadSlot(0, 4, make([]byte, 8)) },
			"ReadSlot len":   func() { f.ReadSlot(0, 0, make([]byte, 12)) },
			"ReadSlot end":   func() { f.ReadSlot(0, size, make([]byte, 8)) },
			"MergeSlot end":  func() { f.MergeSlot(0, size-8, make([]byte, 16)) },
			"MergeSlot slot": func() { f.MergeSlot(-1, 0, nil) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s did not panic", name)
					}
				}()
				misuse()
			}()
		}
	})
}
