package shards

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
)

// TestTwinsAcrossASeal: a table is sealed in the middle of a batch. The second of two
// equal keys in the batch is a duplicate on either side of the seal, and each key is
// logged once. So it is with keys that come one by one.
func TestTwinsAcrossASeal(t *testing.T) {
	var h *bed
	for name, key := range map[string]func(n int) []byte{
		// They fill the memory for records long before the table has its number of keys.
		"long": func(n int) []byte { return fmt.Appendf(nil, "%08d%s", n, bytes.Repeat([]byte("x"), 192)) },
		// One word of the filter is soon full, so that all others are "maybe".
		"near in the filter too": func(n int) []byte { return h.keyOfOrder(uint64(n)) },
		// They fill the rows that a search walks.
		"near in the table": func(n int) []byte { return h.keyOfOrder(uint64(n) * 0x9e3779b97f4a7c15 / 12) },
		"records near in the table": func(n int) []byte {
			for i := 0; ; i++ {
				key := fmt.Appendf(nil, "record %d of key %d", i, n)
				if h.c.Hasher.Record(key) < math.MaxUint64/12 {
					return key
				}
			}
		},
	} {
		for _, alone := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/alone=%t", name, alone), func(t *testing.T) {
				h = newBed(t, Config{Shards: 1, Filter: bloom.Config{Keys: 400_000, BitsPerKey: 16}})
				admit := func(keys [][]byte, alone bool) (vs []dedup.Verdict) {
					if !alone {
						return h.admit(keys...)
					}
					for _, key := range keys {
						vs = append(vs, h.admit(key)...)
					}
					return vs
				}
				n := 0
				var before [][]byte // keys of the batch before
				for range 5 {
					keys := slices.Clone(before)
					for range 1000 {
						n++
						keys = append(keys, key(n))
					}
					fresh := keys[len(before):]
					keys = append(keys, fresh...)
					for i, v := range admit(keys, alone) {
						want := dedup.Duplicate
						if i -= len(before); i >= 0 && i < 1000 {
							want = dedup.Fresh
						}
						if v != want {
							t.Fatalf("key %d of a batch: %v, want %v", i, v, want)
						}
					}
					before = fresh[:20]
				}
				if h.set.nSealed.Load() == 0 {
					t.Fatal("nothing was sealed: the test shows nothing")
				}
				h.restart()
				for i := range n {
					if v := h.look(key(i + 1)); v[0] != dedup.Duplicate {
						t.Fatalf("key %d after a restart: %v", i+1, v[0])
					}
				}
				if logged := h.log.marks(t); logged != n {
					t.Errorf("%d marks are in the log of %d keys", logged, n)
				}
			})
		}
	}
}
