package engine

import (
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

// TestTablesStay: while each generation has 2 % more keys than the one before, tables keep their
// size until a generation no longer fits into them.
func TestTablesStay(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(clock)
	o.Sync, o.Shards, o.tableKeys, o.resizes = SyncNone, 1, minTableKeys, true
	e := mustOpen(t, t.TempDir(), o)
	keys, next, sizes := 10_000, 0, map[int]bool{}
	for range 8 {
		admitAll(t, e, intKeys(next, keys), dedup.Fresh)
		next, keys = next+keys, keys+keys/50
		clock.advance(e.opts.span())
		admitAll(t, e, intKeys(next-1, 1), dedup.Duplicate) // begins a generation
		eventually(t, "the tables fit", func() bool { return !e.fitDue.Load() && !e.resizing.Load() && e.set.LastKeys() >= uint64(keys/51*50) })
		if n := e.set.MaxKeys(); n >= 10_000 {
			sizes[n] = true
		}
	}
	if len(sizes) == 0 || len(sizes) > 2 {
		t.Errorf("the tables had the sizes %v", sizes)
	}
	admitAll(t, e, intKeys(next-3*keys, 3*keys), dedup.Duplicate)
}
