package bloom

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/firstseen/firstseen/internal/prefetch"
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

func open(t testing.TB, kind Kind, c Config) batcher {
	t.Helper()
	f, err := New(kind, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f.(batcher)
}

// TestFalsePositiveRate: of a full window as many absent keys are "maybe" as
// PredictRate says, and Rate agrees.
func TestFalsePositiveRate(t *testing.T) {
	test := func(kind Kind, bitsPerKey float64, hashes, generations int) {
		t.Run(fmt.Sprintf("kind=%v/bits=%v/hashes=%d/generations=%d", kind, bitsPerKey, hashes, generations), func(t *testing.T) {
			const keys, probes = 200_000, 400_000
			f := open(t, kind, Config{Keys: keys, BitsPerKey: bitsPerKey, Generations: generations, Hashes: hashes})
			rng := rand.New(rand.NewPCG(uint64(hashes), 11))
			for i := range keys {
				f.Add(i%generations, rng.Uint64()<<4)
			}
			found, orders, masks := 0, make([]uint64, 1000), make([]uint8, 1000)
			for range probes / 1000 {
				for i := range orders {
					orders[i] = rng.Uint64() << 4
				}
				f.MaybeBatch(masks, orders)
				for _, m := range masks {
					found += int(one(m != 0))
				}
			}
			want := PredictRate(kind, bitsPerKey, hashes, generations)
			got, sigma := float64(found)/probes, math.Sqrt(want/probes)
			// 5 sigma of counting, and 3 % for how this window happens to lie.
			if math.Abs(got-want) > 5*sigma+0.03*want {
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

// TestAddAbsent: it does to each key in turn what Maybe and Add do, also while a slot is
// being cleared.
func TestAddAbsent(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind, generations int) {
		rng := rand.New(rand.NewPCG(3, 3))
		c := Config{Keys: 20_000, BitsPerKey: 6, Generations: generations, Hashes: 2} // so full that many are "maybe"
		f, g, h := open(t, kind, c), open(t, kind, c), open(t, kind, c)
		masks, alone, orders := make([]uint8, 301), make([]uint8, 1), make([]uint64, 300)
		seen := [2]int{} // absent keys, and those known only by an equal one before them
		for round := range 300 {
			slot := rng.IntN(generations)
			held, blind := uint8(rng.Uint32())&uint8(1<<generations-1)|1<<slot, uint8(0)
			if round%8 == 0 {
				blind = uint8(rng.Uint32())
			}
			for i := range orders {
				if orders[i] = rng.Uint64() << 4; i > 0 && rng.IntN(4) == 0 {
					orders[i] = orders[rng.IntN(i)]
				}
			}
			swept := rng.IntN(generations)
			for _, f := range []batcher{f, g, h} {
				if round%5 == 0 {
					f.Reset(swept)
				}
				f.ClearStep()
			}
			masks[300] = 0xa5
			before := make([]uint8, 300)
			f.MaybeBatch(before, orders)
			f.AddAbsent(slot, held, blind, masks[:300], orders, nil)
			for i, order := range orders {
				want := (g.Maybe(order) | blind) & held
				if want == 0 {
					g.Add(slot, order)
					seen[0]++
				} else if (before[i]|blind)&held == 0 {
					seen[1]++
				}
				if h.AddAbsent(slot, held, blind, alone, orders[i:i+1], nil); alone[0] != want {
					t.Fatalf("round %d, key %d: alone mask %08b, one by one %08b", round, i, alone[0], want)
				}
				// Whether a key of other slots is "maybe" in this one by the bits of those
				// before it, which are not equal, is left open.
				if got := masks[i]; got != want && (got == 0 || got|1<<slot != want) {
					t.Fatalf("round %d, key %d: mask %08b, one by one %08b", round, i, masks[i], want)
				}
			}
			if masks[300] != 0xa5 {
				t.Fatal("it wrote beyond the masks")
			}
		}
		if seen[0] < 1000 || seen[1] < 1000 {
			t.Fatalf("%d absent keys and %d equal ones are too few for a test", seen[0], seen[1])
		}
		a, b := make([]byte, f.SlotBytes()), make([]byte, f.SlotBytes())
		for slot := range generations {
			g.ReadSlot(slot, 0, b)
			for name, f := range map[string]batcher{"AddAbsent": f, "AddAbsent of one key": h} {
				if f.ReadSlot(slot, 0, a); string(a) != string(b) {
					t.Errorf("slot %d holds something else after %s than one by one", slot, name)
				}
			}
		}
	})
}

// TestQueue: what is prefetched beside other keys changes no answer, and is taken out as far as
// keys were tested.
func TestQueue(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind, generations int) {
		rng := rand.New(rand.NewPCG(4, 4))
		c := Config{Keys: 20_000, BitsPerKey: 8, Generations: generations}
		f, g := open(t, kind, c), open(t, kind, c)
		other := open(t, kind, Config{Keys: 5_000, BitsPerKey: 8, Generations: generations})
		rows := make([]uint64, 400)
		for range 200 {
			orders, next := make([]uint64, rng.IntN(150)), make([]uint64, rng.IntN(150))
			for _, s := range [][]uint64{orders, next} {
				for i := range s {
					s[i] = rng.Uint64() << 4
				}
			}
			queue := prefetch.Queue{Filter: other, Orders: next}
			if rng.IntN(2) == 0 {
				queue.Row, queue.Rows = unsafe.Pointer(&rows[0]), 100
			}
			left := func(what string, tested int) {
				t.Helper()
				if got, want := len(queue.Orders), max(len(next)-tested, 0); got != want || got > 0 && &queue.Orders[0] != &next[tested] {
					t.Fatalf("%s of %d keys leaves %d of %d, want %d", what, tested, got, len(next), want)
				}
			}
			got, want := make([]uint8, len(orders)), make([]uint8, len(orders))
			slot := rng.IntN(generations)
			f.AddAbsent(slot, 0xff, 0, got, orders, &queue)
			g.AddAbsent(slot, 0xff, 0, want, orders, nil)
			if string(got) != string(want) {
				t.Fatalf("AddAbsent: masks %v, without a queue %v", got, want)
			}
			left("AddAbsent", len(orders))
			queue.Orders = next
			f.MaybePrefetched(got, orders, &queue)
			if g.MaybePrefetched(want, orders, nil); string(got) != string(want) {
				t.Fatalf("MaybePrefetched: masks %v, without a queue %v", got, want)
			}
			left("MaybePrefetched", len(orders))
			queue.Orders = next
			queue.Next(len(orders))
			left("Next", len(orders))
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
		var queue prefetch.Queue
		if n := testing.AllocsPerRun(20, func() {
			queue = prefetch.Queue{Filter: f, Orders: orders}
			f.Prefetch(orders)
			f.MaybePrefetched(masks, orders, nil)
			f.MaybeBatch(masks, orders)
			f.Maybe(orders[0])
			f.AddBatch(0, orders)
			f.AddAbsent(0, 3, 0, masks, orders, &queue)
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
			"Add":             func() { f.Add(generations, 0) },
			"AddBatch":        func() { f.AddBatch(-1, nil) },
			"Reset":           func() { f.Reset(generations) },
			"Fill":            func() { f.Fill(8) },
			"MaybeBatch":      func() { f.MaybeBatch(make([]uint8, 1), make([]uint64, 2)) },
			"AddAbsent":       func() { f.AddAbsent(0, 1, 0, make([]uint8, 1), make([]uint64, 2), nil) },
			"AddAbsent slot":  func() { f.AddAbsent(generations, 1, 0, nil, nil, nil) },
			"MaybePrefetched": func() { f.MaybePrefetched(make([]uint8, 1), make([]uint64, 2), nil) },
			"ReadSlot slot":   func() { f.ReadSlot(generations, 0, make([]byte, 8)) },
			"ReadSlot off":    func() { f.ReadSlot(0, 4, make([]byte, 8)) },
			"ReadSlot len":    func() { f.ReadSlot(0, 0, make([]byte, 12)) },
			"ReadSlot end":    func() { f.ReadSlot(0, size, make([]byte, 8)) },
			"MergeSlot end":   func() { f.MergeSlot(0, size-8, make([]byte, 16)) },
			"MergeSlot slot":  func() { f.MergeSlot(-1, 0, nil) },
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
