package shards

// marks are the newly marked keys of a part: where they stand in the batch, and
// beside it what the filter, the table and the log want of them.
type marks struct {
	at          []int32
	orders, los []uint64
	records     []byte // of the variable forms, where they lie in an arena side by side; else nil
}

func (m *marks) len() int { return len(m.at) }

func (m *marks) reset() {
	m.cut(0)
	m.records = nil
}

func (m *marks) cut(n int) { m.at, m.orders, m.los = m.at[:n], m.orders[:n], m.los[:n] }

func (m *marks) add(b *Batch, i int) {
	m.records = nil // there may be others between
	m.at, m.orders, m.los = append(m.at, int32(i)), append(m.orders, b.order[i]), append(m.los, b.lo[i])
}

// addRecords puts the records of all keys into an arena, and their places into los.
func (m *marks) addRecords(a *arena, records [][]byte) {
	used := a.used
	for k, i := range m.at {
		m.los[k] = a.add(records[i])
	}
	m.records = a.since(used)
}

// remove takes out the k-th key.
func (m *marks) remove(k int) {
	m.records = nil // they don't lie side by side any more
	copy(m.at[k:], m.at[k+1:])
	copy(m.orders[k:], m.orders[k+1:])
	copy(m.los[k:], m.los[k+1:])
	m.cut(m.len() - 1)
}

// split sorts a part by its masks, of which only the bits of held count: keys that
// no generation may hold go to b.fresh, the places of the others to b.known. There
// is no branch that depends on a mask: among many duplicates one would be
// mispredicted at every other key.
func (b *Batch) split(from, to int, blind, held uint8) {
	n := to - from
	mask, order, lo := b.mask[from:to], b.order[from:to], b.lo[from:to]
	m := &b.fresh
	at, orders, los, known := m.at[:n], m.orders[:n], m.los[:n], b.known[:n]
	fresh := 0
	for i := range mask {
		v := (mask[i] | blind) & held
		mask[i] = v
		at[fresh], orders[fresh], los[fresh] = int32(from+i), order[i], lo[i]
		known[i-fresh] = int32(from + i)
		fresh += int(one(v == 0))
	}
	m.at, m.orders, m.los = at[:fresh], orders[:fresh], los[:fresh]
	b.known = known[:n-fresh]
}
