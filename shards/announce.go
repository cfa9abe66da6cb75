package shards

import "github.com/firstseen/firstseen/internal/hash"

// ahead is by how many shards the announcements run before the look-ups: all of a
// batch at once would not fit the first-level cache. They are made once more
// right before the use: the processor drops some that miss its address cache, and
// the second time they cost next to nothing (a batch takes a fifth less).
const ahead = 2

// piece is how many keys are tested, and announced, at a time: many announcements
// in a row fill what the processor keeps of misses and then wait for memory, while
// between tests they wait beside them (a batch takes 7 % less).
const piece = 32

// An announcement is what has not been announced yet of the keys of a shard.
type announcement struct {
	shard  *shard
	form   hash.Form
	orders []uint64
}

// announce announces up to n keys more.
func (a *announcement) announce(n int) {
	n = min(n, len(a.orders))
	a.shard.announce(a.form, a.orders[:n])
	a.orders = a.orders[n:]
}

// announce announces the filter's lines and the table's rows in which keys of one form will be
// looked for. It takes no lock; a stale address costs time only.
func (s *shard) announce(form hash.Form, orders []uint64) {
	(*s.filter.Load()).Prefetch(orders)
	if t := s.hint[form].Load(); t != nil {
		t.announce(orders)
	}
}

// announce announces all keys of a shard.
func (s *Set) announce(b *Batch, shard int) {
	if from, to := b.part(shard); from < to {
		s.shards[shard].announce(b.form[from], b.order[from:to])
	}
}

// announceLater is announce, but where there are many keys it leaves them in b.next.
func (s *Set) announceLater(b *Batch, shard int) {
	if shard >= len(s.shards) {
		return
	}
	from, to := b.part(shard)
	if to-from <= piece {
		s.announce(b, shard)
		return
	}
	b.next = announcement{&s.shards[shard], b.form[from], b.order[from:to]}
}
