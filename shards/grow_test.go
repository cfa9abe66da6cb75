package shards

import (
	"testing"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

// TestGrowTableMoves: a filter grows while the active table, of which some keys were forgotten,
// is added piece by piece and moves to larger memory in between, which puts its keys in another
// order. The new filter has all keys (I1).
func TestGrowTableMoves(t *testing.T) {
	h := newBed(t, Config{Shards: 1, MaxKeys: 40_000, Filter: bloom.Config{Keys: 100_000, BitsPerKey: 24}})
	sh, keys := &h.set.shards[0], 0
	admit := func(upTo int) {
		t.Helper()
		for ; keys < upTo; keys++ {
			if v := h.admit(key16(keys)); v[0] != dedup.Fresh {
				t.Fatalf("key %d: %v", keys, v[0])
			}
		}
	}
	admit(8000)
	for i := 100; i < 7000; i += 50 {
		h.forget(key16(i))
	}
	larger, err := newFilter(h.c.Kind, h.c.Filter)
	if err != nil {
		t.Fatal(err)
	}
	sh.larger, sh.growing = larger, growing{slots: newSlots(h.c.Filter)}
	sh.growing.move = sh.slots.pack(&sh.growing.slots)
	sh.growing.live = int(sh.growing.move[sh.slot])
	u, form := sh.active, hash.Raw16
	orders := make([]uint64, 0, MaxPiece)
	table, at, more := sh.addPiece(u, int(form), nil, 0, orders)
	if at != MaxPiece || !more {
		t.Fatalf("the first piece has %d keys, more: %v", at, more)
	}
	for sh.active.tables[form] == table {
		admit(keys + 100)
	}
	if sh.active != u {
		t.Fatal("the table was sealed: it should have moved")
	}
	for more {
		table, at, more = sh.addPiece(u, int(form), table, at, orders)
	}
	forgotten := func(i int) bool { return i >= 100 && i < 7000 && i%50 == 0 }
	var b Batch
	for i := range keys {
		if h.set.Route(&b, [][]byte{key16(i)}); larger.Maybe(b.order[0]) == 0 && !forgotten(i) {
			t.Fatalf("the larger filter does not know key %d of %d", i, keys)
		}
	}
	sh.larger, sh.growing = nil, growing{}
	larger.Close()
}

// TestLargeTablesStay: when tables grow, one with few keys moves to the new memory, and one with
// many, which would keep a call for milliseconds, is sealed. Its keys are duplicates either way.
func TestLargeTablesStay(t *testing.T) {
	for _, keys := range []int{moveMost, moveMost + 2} {
		h := newBed(t, Config{Shards: 1, MaxKeys: keys - MaxPiece})
		if err := h.set.Warm(0, 1, 0); err != nil {
			t.Fatal(err)
		}
		admit := func(i int) {
			t.Helper()
			if v := h.admit(key16(i)); v[0] != dedup.Fresh {
				t.Fatalf("key %d: %v", i, v[0])
			}
		}
		admit(0)
		if err := h.set.SetMaxKeys(4*keys, 1); err != nil {
			t.Fatal(err)
		}
		for i := 1; i <= keys; i++ {
			admit(i)
		}
		if sealed, want := h.set.Sealed(), map[bool]int{true: 1}[keys > moveMost]; sealed != want {
			t.Errorf("%d keys: %d tables are sealed, want %d", keys, sealed, want)
		}
		if n := h.set.shards[0].active.tables[hash.Raw16].Cap(); n != h.set.fullKeys() {
			t.Errorf("%d keys: the active table is for %d, want %d", keys, n, h.set.fullKeys())
		}
		for i := range keys + 1 {
			if v := h.admit(key16(i)); v[0] != dedup.Duplicate {
				t.Fatalf("key %d of %d: %v", i, keys, v[0])
			}
		}
	}
}
