package shards

import (
	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/internal/hash"
)

// ahead is by how many shards the announcements run before the look-ups: all of a
// batch at once would not fit the first-level cache. They are made once more
// right before the use: the processor drops some that miss its address cache, and
// the second time they cost next to nothing (a batch takes a fifth less).
const ahead = 2

// piece is how many keys are tested, and announced, at a time: many announcements
// in a row fill what the processor keeps of misses and then wait for memory, while
// between tests they wait beside them (a batch takes 7 % less).
const piece = 32

// An announcement is what has not been announced yet of the keys of a shard: the
// lines of the filter and of the table where they will be looked for. It is made
// without the lock; a stale address costs time only.
type announcement struct {
	filter bloom.Filter
	table  *table
	orders []uint64
}

// announcement returns that of a shard; the shards behind the last have no keys.
func (s *Set) announcement(b *Batch, shard int) (a announcement) {
	if shard < len(s.shards) && b.start[shard] < b.start[shard+1] {
		from, to := b.start[shard], b.start[shard+1]
		a = s.shards[shard].announcement(b.form[from], b.order[from:to])
	}
	return a
}

func (s *shard) announcement(form hash.Form, orders []uint64) announcement {
	return announcement{*s.filter.Load(), s.hint[form].Load(), orders}
}

// announce announces keys of one form.
func (s *shard) announce(form hash.Form, orders []uint64) {
	a := s.announcement(form, orders)
	a.announce(len(orders))
}

// announce announces up to n keys more.
func (a *announcement) announce(n int) {
	if n = min(n, len(a.orders)); n == 0 {
		return
	}
	a.filter.Prefetch(a.orders[:n])
	if a.table != nil {
		a.table.announce(a.orders[:n])
	}
	a.orders = a.orders[n:]
}
