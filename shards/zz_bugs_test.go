package shards

import (
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// TestBugSecondLookNewGeneration: a key that the filter calls "maybe" for an old
// generation is marked by another caller, in the live one, between the two looks
// of a call, and its table is sealed. The second look goes by the generations
// that the first one saw, so it neither looks into that table nor asks its run:
// both callers get Fresh (I2).
func TestBugSecondLookNewGeneration(t *testing.T) {
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
			h.runs.after = func(int) {
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
