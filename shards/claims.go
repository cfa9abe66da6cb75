package shards

import (
	"encoding/binary"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

// A claim is a key in somebody's hands. It is guarded by its shard's mu.
type claim struct {
	order, lo uint64
	nonce     uint64 // the token's own part; zero marks a free slot, and is no token's
	expires   int64  // end of the lease, ns of the engine's clock; see answerClaimed
	record    []byte // own copy, of the variable forms; nil of the fixed ones
	form      hash.Form
	pinned    bool  // a commit under way keeps it, see Set.Pin
	next      int32 // slot + 1 of the next claim of its chain, or of the next free one; 0 where there is none
}

// claims holds the claims of one shard: slots, which tokens point into, and an
// index over them by hash. Claims with the same place in it are a chain: ending one is
// mostly one load and one store, and leaves no hole that has to be closed.
//
// A claim keeps its slot until it ends, whatever comes and goes beside it, because its token
// names the slot. So slots are never compacted, and their number is that of the most claims that
// there were at once. A slot that is used again has another nonce: an old token finds the slot,
// and ends nothing (I6). All of it is guarded by the shard's mu.
type claims struct {
	slots []claim
	free  int32   // first free slot + 1, 0 where there is none
	index []int32 // first slot + 1 of each chain, 0 where empty; a power of two of them, twice as many as claims or more
	shift uint    // 64 - log2(len(index))
	live  int
	spare spareRecords
}

// spareRecords is the memory of ended claims' records, for those that come next: a batch that is
// claimed and committed again and again allocates nothing for its keys. Each record may be up to 255
// bytes long, whatever its memory was made for, so after a while all memory fits the longest keys.
type spareRecords struct {
	records [][]byte
	bytes   int // that they hold
	most    int // of bytes: what would exceed it is left to the collector
}

// spareBytes bounds the spare records of all shards together. 4 MiB are the records of 36,000 keys of
// 100 bytes, more than callers end at once, and little beside the heap that MemoryBudget allows for.
const spareBytes = 4 << 20

// copyOf returns a copy of a record.
func (r *spareRecords) copyOf(record []byte) (own []byte) {
	if last := len(r.records) - 1; last >= 0 {
		own = r.records[last]
		r.records[last] = nil
		r.records = r.records[:last]
		r.bytes -= cap(own)
	}
	return append(own, record...)
}

// keep takes back the memory of a copy that nobody reads after the shard is unlocked. Until then
// it may still be read: a commit ends its claims first and then logs their keys from the records
// (gather, logMarks). So between the two nothing may call copyOf, which only a new claim does.
func (r *spareRecords) keep(own []byte) {
	if r.bytes+cap(own) <= r.most {
		r.records = append(r.records, own[:0])
		r.bytes += cap(own)
	}
}

// A place is where a claim lies: its shard and its slot.
type place uint64

func newPlace(shard, slot int) place { return place(shard)<<32 | place(uint32(slot)) }

// A token is the place and a number that is used once. The place spares a search when the claim
// ends; the number alone decides whether the token ends it (I6).
func newToken(p place, nonce uint64) (t dedup.Token) {
	binary.LittleEndian.PutUint64(t[0:], uint64(p))
	binary.LittleEndian.PutUint64(t[8:], nonce)
	return t
}

// token is a dedup.Token in its parts.
type token struct {
	number      uint64
	shard, slot uint32
}

// noShard is the shard of a token that ends nothing.
const noShard = ^uint32(0)

func split(t dedup.Token) token {
	le := binary.LittleEndian
	return token{number: le.Uint64(t[8:]), shard: le.Uint32(t[4:]), slot: le.Uint32(t[0:])}
}

// find returns the slot that holds the key, or -1. Ended leases count: the caller decides what
// an end means (answerClaimed).
func (c *claims) find(form hash.Form, order, lo uint64, record []byte) int {
	if c.live == 0 {
		return -1
	}
	for at := c.index[order>>c.shift]; at > 0; {
		s := &c.slots[at-1]
		// I3: the hash finds, the whole key decides.
		if s.order == order && s.lo == lo && s.form == form && string(s.record) == string(record) {
			return int(at - 1)
		}
		at = s.next
	}
	return -1
}

// none reports that no claim has a key of this order, by the index alone: false says nothing.
// It reads no slot, which would be a random line of its own.
func (c *claims) none(order uint64) bool { return c.live == 0 || c.index[order>>c.shift] == 0 }

// get returns the claim that a token ends, or nil (I6): a pinned one is not to be ended by
// anybody else.
func (c *claims) get(slot uint32, nonce uint64) *claim {
	if s := c.at(slot, nonce); s != nil && !s.pinned {
		return s
	}
	return nil
}

// getPinned returns the claim that a token ends if it is pinned, or nil.
func (c *claims) getPinned(slot uint32, nonce uint64) *claim {
	if s := c.at(slot, nonce); s != nil && s.pinned {
		return s
	}
	return nil
}

// at returns the claim that a token names, or nil. Slot and nonce are what the caller's token
// says and may be anything.
func (c *claims) at(slot uint32, nonce uint64) *claim {
	if int(slot) >= len(c.slots) || nonce == 0 || c.slots[slot].nonce != nonce {
		return nil
	}
	return &c.slots[slot]
}

// add returns a slot for a claim of a key that has none, which the caller fills in: all but order and
// the chain. It may move the others in memory, so a *claim that was had before is stale after it;
// their numbers stay. The caller sets nonce before mu is unlocked: until then the slot looks free.
func (c *claims) add(order uint64) (at int, s *claim) {
	if 2*(c.live+1) > len(c.index) {
		c.growIndex()
	}
	if c.free == 0 {
		c.slots = append(c.slots, claim{})
		c.free = int32(len(c.slots))
	}
	at = int(c.free) - 1
	s = &c.slots[at]
	c.free = s.next
	c.link(order, at)
	s.order = order
	c.live++
	return at, s
}

// link puts a slot in front of its chain.
func (c *claims) link(order uint64, at int) {
	first := &c.index[order>>c.shift]
	c.slots[at].next, *first = *first, int32(at+1)
}

// growIndex doubles the index before it is more than half full, so that chains stay short. It
// links the claims anew, since each may have another place. The slots stay where they are, since
// tokens name them.
func (c *claims) growIndex() {
	size := max(64, 2*len(c.index))
	c.index = make([]int32, size)
	c.shift = 64
	for n := size; n > 1; n >>= 1 {
		c.shift--
	}
	for at := range c.slots {
		if c.slots[at].nonce != 0 {
			c.link(c.slots[at].order, at)
		}
	}
}

// remove frees a slot: its claim has ended, and its token ends nothing any more. The chain is
// walked from its front, since a claim knows only the next one.
func (c *claims) remove(at int) {
	s := &c.slots[at]
	to := &c.index[s.order>>c.shift]
	for int(*to) != at+1 {
		to = &c.slots[*to-1].next
	}
	*to = s.next
	if s.record != nil {
		c.spare.keep(s.record)
		s.record = nil
	}
	s.nonce, s.pinned, s.next = 0, false, c.free
	c.free = int32(at + 1)
	c.live--
}

// sweep frees claims whose lease ended before the given time and returns how
// many. It looks at no more than limit slots, from the given one on, and
// returns where to go on (0: done).
func (c *claims) sweep(from, limit int, before int64) (next int, swept uint64) {
	end := min(from+limit, len(c.slots))
	for at := from; at < end; at++ {
		if s := &c.slots[at]; s.nonce != 0 && !s.pinned && s.expires < before {
			c.remove(at)
			swept++
		}
	}
	if end == len(c.slots) {
		return 0, swept
	}
	return end, swept
}
