package shards

import (
	"encoding/binary"
	"slices"
)

// marks are the newly marked keys of a part: where they stand in the batch, and
// beside it what the filter, the table and the log want of them.
type marks struct {
	at          []int32
	orders, los []uint64
	payload     []byte // what the log gets of them, where it is at hand; else nil
	inFilter    bool   // the filter has them
}

func (m *marks) len() int { return len(m.at) }

func (m *marks) reset() {
	m.cut(0)
	m.payload, m.inFilter = nil, false
}

func (m *marks) cut(n int) { m.at, m.orders, m.los = m.at[:n], m.orders[:n], m.los[:n] }

func (m *marks) add(b *Batch, i int) {
	m.payload, m.inFilter = nil, false // there may be others between
	m.at, m.orders, m.los = append(m.at, int32(i)), append(m.orders, b.order[i]), append(m.los, b.lo[i])
}

// addRecords puts the records of all keys into an arena, and their places into los.
func (m *marks) addRecords(a *arena, records [][]byte) {
	used := a.used
	for k, i := range m.at {
		m.los[k] = a.add(records[i])
	}
	m.payload = a.since(used)
}

// remove takes out the keys that stand at the ascending ks, and puts their places in
// the batch there.
func (m *marks) remove(ks []int32) {
	if len(ks) == 0 {
		return
	}
	m.payload = nil // it has them too
	n, next := 0, 0
	for k, i := range m.at {
		if next < len(ks) && int(ks[next]) == k {
			ks[next] = i
			next++
			continue
		}
		m.at[n], m.orders[n], m.los[n] = i, m.orders[k], m.los[k]
		n++
	}
	m.cut(n)
}

// split sorts a part by its masks: keys that no generation may hold, and that the
// filter has now, go to b.fresh, with the payload of a fixed form, the places of the
// others to b.known. There is no branch that depends on a mask: among many duplicates
// one would be mispredicted at every other key. shard is the hash bits that an order lacks.
func (b *Batch) split(from, to int, shard uint64, shardBits uint) {
	le := binary.LittleEndian
	n := to - from
	mask, order, lo := b.mask[from:to], b.order[from:to], b.lo[from:to]
	b.payload = slices.Grow(b.payload[:0], n*pairSize)
	p := b.payload[:n*pairSize]
	m := &b.fresh
	at, orders, los, known := m.at[:n], m.orders[:n], m.los[:n], b.known[:n]
	fresh := 0
	for i := range mask {
		at[fresh], orders[fresh], los[fresh] = int32(from+i), order[i], lo[i]
		pair := p[fresh*pairSize:][:pairSize]
		le.PutUint64(pair, shard|order[i]>>(shardBits&63))
		le.PutUint64(pair[8:], lo[i])
		known[i-fresh] = int32(from + i)
		fresh += int(one(mask[i] == 0))
	}
	m.at, m.orders, m.los, m.payload, m.inFilter = at[:fresh], orders[:fresh], los[:fresh], p[:fresh*pairSize], true
	b.known = known[:n-fresh]
}
