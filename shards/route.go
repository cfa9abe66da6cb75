package shards

import (
	"github.com/firstseen/firstseen/internal/hash"
)

// resize makes room for n keys. All slices grow together, so the capacity of order tells for
// them, and for those that only some calls need and that are made later (records, tokens).
func (b *Batch) resize(n int) {
	if cap(b.order) < n {
		n := max(n, 64)
		b.order, b.lo = make([]uint64, n), make([]uint64, n)
		b.form, b.at, b.mask = make([]hash.Form, n), make([]int32, n), make([]uint8, n)
		b.his, b.los, b.forms = make([]uint64, n), make([]uint64, n), make([]hash.Form, n)
		b.fresh = marks{at: make([]int32, 0, n), orders: make([]uint64, 0, n)}
		b.maybes, b.spilled, b.candidates = make([]int32, 0, n), make([]int32, 0, n), make([]uint32, 0, n)
		b.pending = make([]Pending, 0, n) // never moves: see Confirmer.Offer
	}
	b.n = n
	b.order, b.lo, b.form, b.at, b.mask = b.order[:n], b.lo[:n], b.form[:n], b.at[:n], b.mask[:n]
	b.his, b.los, b.forms = b.his[:n], b.los[:n], b.forms[:n]
}

// route hashes keys (at most MaxPiece, all of valid length) and puts them in the
// order of their shards by counting. Keys of one shard keep their order, so that of twins in a
// call the first gets Fresh. What is scattered is the places only, of four bytes each; the words
// are gathered by them afterwards, one array after the other.
func (b *Batch) route(h *hash.Hasher, keys [][]byte, shardBits uint) {
	if len(keys) != b.n {
		b.resize(len(keys))
	}
	b.keys = keys
	b.digest = b.digest[:0]
	b.fixed, b.alike = true, true
	if len(keys) == 1 {
		b.routeOne(h, keys[0], shardBits)
		return
	}
	alike, n := h.SumAlike(b.his, b.los, keys)
	if n < len(keys) {
		b.sumOthers(h, keys, alike, n)
		alike = b.forms[0]
	}
	shift := (63 - shardBits) & 63 // hi>>1>>shift is hi>>(64-shardBits), also with one shard: &63 alone would make 64 of it 0
	start, shards := &b.start, 1<<shardBits
	clear(start[:shards+1])
	his, los, place := b.his, b.los, b.at
	for _, hi := range his {
		start[uint(uint8(hi>>1>>shift))+1]++
	}
	for s := range shards {
		start[s+1] += start[s]
	}
	// This advances each shard's start to its end, which is the next shard's start:
	// shifting by one afterwards restores them.
	for i, hi := range his {
		next := &start[uint8(hi>>1>>shift)]
		place[*next] = int32(i)
		*next++
	}
	copy(start[1:shards+1], start[:shards])
	start[0] = 0
	order, lo, form := b.order[:len(place)], b.lo[:len(place)], b.form[:len(place)]
	for at, i := range place {
		order[at], lo[at], form[at] = his[i]<<(shardBits&63), los[i], alike
	}
	if !b.alike {
		for at, i := range place {
			form[at] = b.forms[i]
		}
	}
	if !b.fixed {
		b.routeRecords()
	}
}

// sumOthers hashes the keys from the n-th on, those before being of one form. A digest is noted
// by its index: a slice of b.digest would be stale when append moves it.
func (b *Batch) sumOthers(h *hash.Hasher, keys [][]byte, form hash.Form, n int) {
	for i := range n {
		b.forms[i] = form
	}
	var digest [hash.DigestLen]byte
	for i := n; i < len(keys); i++ {
		k := h.Sum(keys[i], &digest)
		if !k.Form.Fixed() {
			b.fixed = false
			if k.Form == hash.Digest {
				k.Lo = uint64(len(b.digest)) // where the record lies; routing clears it
				b.digest = append(b.digest, digest)
			}
		}
		b.his[i], b.los[i], b.forms[i] = k.Hi, k.Lo, k.Form
		b.alike = b.alike && k.Form == b.forms[0]
	}
}

// routeOne is route for one key: no counting, no scatter. b.start is not set, so whoever takes
// b.part must look at b.n first. With one shard the shift is by 64, which gives 0 in Go.
func (b *Batch) routeOne(h *hash.Hasher, key []byte, shardBits uint) {
	var digest [hash.DigestLen]byte
	k := h.Sum(key, &digest)
	b.single = int(k.Hi >> (64 - shardBits))
	b.order[0], b.lo[0], b.form[0], b.at[0] = k.Hi<<shardBits, k.Lo, k.Form, 0
	if b.fixed = k.Form.Fixed(); !b.fixed {
		b.digest = append(b.digest, digest)
		b.routeRecords()
	}
}

// routeRecords finds the stored bytes of the keys of variable forms: the key itself, or its
// digest. They are the caller's memory or the batch's, and good for the call only: tables, claims
// and tombstones copy them.
func (b *Batch) routeRecords() {
	if cap(b.record) < b.n {
		b.record = make([][]byte, cap(b.order))
	}
	b.record = b.record[:b.n]
	for i, at := range b.at {
		switch b.form[i] {
		case hash.Bytes:
			b.record[i] = b.keys[at]
		case hash.Digest:
			b.record[i] = b.digest[b.lo[i]][:]
			b.lo[i] = 0
		default:
			b.record[i] = nil
		}
	}
}
