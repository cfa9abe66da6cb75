package shards

import "github.com/firstseen/firstseen/internal/keytable"

// marks are the newly marked keys of a part: where they stand in the batch, and beside it
// what the filter, the table and the log take. They are logged before the shard's lock goes,
// since the next holder must not find keys in the table that the filter does not know (I1).
type marks struct {
	at     []int32  // places in the batch, not in the call
	orders []uint64 // of the same keys, side by side as AddBatch and InsertNew take them
	// payload is what the log gets: the table's memory, or nil where shard.payload has to build
	// it. As the table's memory it has exactly the keys of at, in their order, so whatever
	// changes at alone sets it to nil.
	payload []byte
	// inFilter says that AddAbsent has put all of the keys into the filter already.
	inFilter bool
	old      int // how many of them are not fresh but refreshed
}

func (m *marks) len() int { return len(m.at) }

func (m *marks) reset() {
	m.cut(0)
	m.payload, m.inFilter, m.old = nil, false, 0
}

func (m *marks) cut(n int) { m.at, m.orders = m.at[:n], m.orders[:n] }

func (m *marks) add(b *Batch, i int) {
	m.payload, m.inFilter = nil, false // the new key need not lie right behind the others in the table
	m.at, m.orders = append(m.at, int32(i)), append(m.orders, b.order[i])
}

// forms returns the forms of the keys, as bits.
func (m *marks) forms(b *Batch) (forms uint) {
	for _, i := range m.at {
		forms |= 1 << b.form[i]
	}
	return forms
}

// remove takes out the keys at the ascending indexes ks, and puts their places in the batch
// into ks instead. Their bits stay in the filter, which costs nothing: mark adds the same keys
// again.
func (m *marks) remove(ks []int32) {
	m.payload = nil // it holds the removed keys too
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

// split divides a part by its masks. Keys with mask 0, which the filter has got meanwhile, go
// to b.fresh and, in the shape of a table of fixed keys, to the start of pairs. The places of
// the others go to b.maybes. No branch depends on a mask: among many duplicates it would be
// mispredicted at every other key. shard is the hash bits that an order lacks.
func (b *Batch) split(from, to int, pairs []keytable.Pair, shard uint64, shardBits uint) {
	masks, m := b.mask[from:to], &b.fresh
	at, known := m.at[:len(masks)], b.maybes[:len(masks)]
	fresh := 0
	for i, mask := range masks {
		at[fresh], known[i-fresh] = int32(from+i), int32(from+i)
		fresh += int(bit(mask == 0))
	}
	m.at, b.maybes = at[:fresh], known[:len(masks)-fresh]
	m.orders, pairs = m.orders[:fresh], pairs[:fresh]
	// In a loop of its own, so that each of the two has registers enough: 5 % of
	// BenchmarkAdmitMemory/keys=1000 on Intel (docs/performance.md).
	order, lo, orders := b.order[:to], b.lo[:to], m.orders
	for k, i := range m.at {
		o := order[i]
		orders[k], pairs[k] = o, keytable.Pair{shard | o>>(shardBits&63), lo[i]}
	}
	m.payload, m.inFilter = keytable.Payload(pairs), true
}

// bit is 1 for true, without a branch.
func bit(b bool) (n uint) {
	if b {
		n = 1
	}
	return n
}
