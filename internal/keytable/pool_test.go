package keytable

import (
	"encoding/binary"
	"testing"

	"github.com/firstseen/firstseen/internal/mem"
)

func newPool(t *testing.T, keys, limit int) *Pool {
	t.Helper()
	p := &Pool{}
	p.SetLimit(limit)
	if err := p.Resize(keys, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func fill(t *testing.T, table *Table, n int) {
	t.Helper()
	for i := range uint64(n) {
		hi := (i + 1) * 0x9e3779b97f4a7c15
		if got := table.Insert(hi, hi, i, nil); got != Inserted {
			t.Fatalf("key %d: %d", i, got)
		}
	}
}

// TestPoolWarm: what Warm made resident is what Full and AddArena hand out.
func TestPoolWarm(t *testing.T) {
	const keys = MaxInsert + 1000
	p := newPool(t, keys, 2)
	if p.Full(keys) != nil {
		t.Fatal("a full table out of an empty pool")
	}
	if err := p.Warm(20); err != nil {
		t.Fatal(err)
	}
	region, arena := p.mu.tables.list[0], p.mu.arenas.list[0]
	if p.Full(keys+1) != nil {
		t.Fatal("a table of another size")
	}
	table := p.Full(keys)
	if err := p.AddArena(table); err != nil {
		t.Fatal(err)
	}
	if table.region != region || table.arena.region != arena || p.Ready() != 0 || p.Bytes() != 0 {
		t.Errorf("Warm's memory is not used, or %d bytes are left", p.Bytes())
	}
	p.Recycle(table)
	if p.Bytes() != int64(table.Bytes()) {
		t.Errorf("%d bytes came back of %d", p.Bytes(), table.Bytes())
	}
}

// TestPoolClears: a table whose memory was another one's knows nothing of its keys, and is
// not to be had before it was cleared.
func TestPoolClears(t *testing.T) {
	const keys = MaxInsert + 30_000 // the index is cleared in more than one piece
	p := newPool(t, keys, 2)
	if err := p.Warm(0); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		table := p.Full(keys)
		fill(t, table, keys)
		if table.Room(1) || table.Used() != keys {
			t.Fatalf("round %d: %d keys are used of %d, and there is room", round, table.Used(), keys)
		}
		p.Recycle(table)
		if p.Full(keys) != nil || !p.Clearing() || p.Ready() != 1 {
			t.Fatal("a table that was not cleared is handed out, or forgotten")
		}
		for p.ClearOne() {
		}
		if p.Clearing() || p.Ready() != 1 {
			t.Fatal("the cleared table is not there")
		}
	}
}

// TestPoolLimit: no more regions of a kind are kept than the limit says, and none of
// another size; what is not kept is freed.
func TestPoolLimit(t *testing.T) {
	before := mem.InUse()
	const keys = MaxInsert + 1000
	p := newPool(t, keys, 2)
	var tables []*Table
	for range 4 {
		table, err := New(keys)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.AddArena(table); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, table)
	}
	for _, table := range tables {
		p.Recycle(table)
	}
	small, err := New(100)
	if err != nil {
		t.Fatal(err)
	}
	p.Recycle(small)
	for p.ClearOne() {
	}
	if len(p.mu.tables.list) != 2 || len(p.mu.arenas.list) != 2 {
		t.Errorf("%d tables and %d arenas are kept, want 2", len(p.mu.tables.list), len(p.mu.arenas.list))
	}
	if err := p.Resize(2*keys, 1); err != nil {
		t.Fatal(err)
	}
	if p.Full(keys) != nil || p.Ready() != 1 || p.Bytes() != int64(tableBytes(2*keys)) {
		t.Errorf("after Resize %d tables of %d bytes are ready, want one of %d", p.Ready(), p.Bytes(), tableBytes(2*keys))
	}
	table := p.Full(2 * keys)
	if err := p.AddArena(table); err != nil {
		t.Fatal(err)
	}
	if !table.RecordRoom(MaxInsert) || table.Bytes() != tableBytes(2*keys)+arenaBytes(2*keys) {
		t.Errorf("a table and its arena have %d bytes, want %d and %d", table.Bytes(), tableBytes(2*keys), arenaBytes(2*keys))
	}
	table.Free()
	p.Close()
	if got := mem.InUse(); got != before {
		t.Errorf("%d bytes are in use after Close, %d before", got, before)
	}
}

// TestPayload: the journal gets pairs as two words, little endian.
func TestPayload(t *testing.T) {
	table := newTable(testRegion(t, tableBytes(10)), 10)
	got, ok := table.InsertAbsent(3<<tableShardBits, 3, 4, nil)
	want := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 3), 4)
	if !ok || littleEndian && string(got) != string(want) || !littleEndian && got != nil {
		t.Errorf("%x, %v, want %x", got, ok, want)
	}
}
