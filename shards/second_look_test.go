package shards

import (
	"context"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// TestSecondLook: a table becomes a run between the first and the second look of
// a call. Its key is in neither place when the call looks, first in memory and
// then, too early, in the runs; only the version tells it to look again.
//
//	A: memory: not there        → has to ask the runs
//	A: runs: not there
//	                             B: marks the key, seals, flushes, publishes
//	A: memory: not there (any more); the version changed → asks the runs again
func TestSecondLook(t *testing.T) {
	h := newBed(t, Config{})
	h.set.AddGeneration(1, false, true) // every key is "maybe"
	key := key16(7)
	h.runs.after = func() {
		if got := h.admit(key); got[0] != dedup.Fresh {
			t.Errorf("the caller in between got %v", got)
		}
		h.flushAll()
	}
	var b Batch
	b.Out = make([]dedup.Verdict, 1)
	h.set.Route(&b, [][]byte{key})
	if err := h.set.Admit(context.Background(), &b, h.now); err != nil {
		t.Fatal(err)
	}
	if b.Out[0] != dedup.Duplicate || b.Counts.Again != 1 {
		t.Errorf("%v after %d further looks, want duplicate after 1", b.Out[0], b.Counts.Again)
	}
}

// TestSecondLookInMemory: what others did between the two looks is seen in the
// second one also when it is still in memory.
func TestSecondLookInMemory(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(h *bed, key []byte)
		want dedup.Verdict
	}{
		"marked":  {func(h *bed, key []byte) { h.admit(key) }, dedup.Duplicate},
		"sealed":  {func(h *bed, key []byte) { h.admit(key); h.set.Seal(^uint64(0)) }, dedup.Duplicate},
		"claimed": {func(h *bed, key []byte) { h.claim(100, key) }, dedup.InFlight},
		"forgot":  {func(h *bed, key []byte) { h.admit(key); h.forget(key) }, dedup.Fresh},
		"rotated": {func(h *bed, key []byte) { h.admit(key); h.rotate(); h.flushAll() }, dedup.Duplicate},
	} {
		t.Run(name, func(t *testing.T) {
			h := newBed(t, Config{})
			h.set.AddGeneration(1, false, true)
			key := key16(7)
			h.runs.after = func() { c.do(h, key) }
			if got := h.admit(key); got[0] != c.want {
				t.Errorf("%v, want %v", got[0], c.want)
			}
		})
	}
}

// TestSecondLookNewGeneration: a key that the filter calls "maybe" for an old
// generation is marked by another caller, in the live one, between the two looks
// of a call, and its table is sealed. The second look must not go by the
// generations that the first one saw, or it neither looks into that table nor
// asks its run, and both callers get Fresh (I2).
func TestSecondLookNewGeneration(t *testing.T) {
	for name, then := range map[string]func(h *bed){
		"sealed":  func(h *bed) { h.set.Seal(^uint64(0)) },
		"flushed": func(h *bed) { h.flushAll() },
		"rotated": func(h *bed) { h.rotate() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newBed(t, Config{})
			key := key16(7)
			h.admit(key)
			h.forget(key) // leaves its bits in the filter of generation 1
			h.rotate()
			h.runs.after = func() {
				if got := h.admit(key); got[0] != dedup.Fresh {
					t.Errorf("the caller in between got %v", got)
				}
				then(h)
			}
			if got := h.admit(key); got[0] != dedup.Duplicate {
				t.Errorf("%v, want duplicate: the other caller got Fresh", got[0])
			}
		})
	}
}

// TestSecondLookRetired: the only generation that the first look had to ask about
// retires between the looks, and another caller marks the key as one that no
// filter knows. A claim of it must not be given.
func TestSecondLookRetired(t *testing.T) {
	h := newBed(t, Config{Shards: 1})
	key := key16(7)
	h.admit(key)
	h.forget(key) // leaves its bits in the filter of generation 1
	h.rotate()
	h.admit(key16(8)) // there is a table
	h.runs.after = func() {
		h.set.Retire(2)
		if got := h.admit(key); got[0] != dedup.Fresh {
			t.Errorf("the caller in between got %v", got)
		}
	}
	if got := h.claim(100, key); got[0].Verdict != dedup.Duplicate {
		t.Errorf("%v, want duplicate: the other caller got Fresh", got[0].Verdict)
	}
}
