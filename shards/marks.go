package shards

import "github.com/firstseen/firstseen/internal/keytable"

// marks are the newly marked keys of a part: where they stand in the batch, and
// beside it what the filter, the table and the log want of them.
type marks struct {
	at       []int32
	orders   []uint64
	payload  []byte // what the log gets of them, where it is at hand; else nil
	inFilter bool   // the filter has them
	old      int    // so many of them are no fresh keys but refreshed ones
}

func (m *marks) len() int { return len(m.at) }

func (m *marks) reset() {
	m.cut(0)
	m.payload, m.inFilter, m.old = nil, false, 0
}

func (m *marks) cut(n int) { m.at, m.orders = m.at[:n], m.orders[:n] }

func (m *marks) add(b *Batch, i int) {
	m.payload, m.inFilter = nil, false // there may be others between
	m.at, m.orders = append(m.at, int32(i)), append(m.orders, b.order[i])
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
		m.at[n], m.orders[n] = i, m.orders[k]
		n++
	}
	m.cut(n)
}

// split sorts a part by its masks: keys that no generation may hold, and that the
// filter has now, go to b.fresh, and to the start of pairs as a table of fixed keys has
// them, the places of the others to b.known. There is no branch that depends on a mask:
// among many duplicates one would be mispredicted at every other key. shard is the hash
// bits that an order lacks.
func (b *Batch) split(from, to int, pairs []keytable.Pair, shard uint64, shardBits uint) {
	masks, m := b.mask[from:to], &b.fresh
	at, known := m.at[:len(masks)], b.known[:len(masks)]
	fresh := 0
	for i, mask := range masks {
		at[fresh], known[i-fresh] = int32(from+i), int32(from+i)
		fresh += int(one(mask == 0))
	}
	m.at, b.known = at[:fresh], known[:len(masks)-fresh]
	m.orders, pairs = m.orders[:fresh], pairs[:fresh]
	// In a loop of its own, so that either has registers enough.
	order, lo, orders := b.order[:to], b.lo[:to], m.orders
	for k, i := range m.at {
		o := order[i]
		orders[k], pairs[k] = o, keytable.Pair{shard | o>>(shardBits&63), lo[i]}
	}
	m.payload, m.inFilter = keytable.Payload(pairs), true
}

// one is 1 for true, without a branch.
func one(b bool) (n uint) {
	if b {
		n = 1
	}
	return n
}
