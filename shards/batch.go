package shards

import (
	"math/bits"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/keytable"
)

const (
	// MaxShards is the largest number of shards.
	MaxShards = 256
	// MaxPart is the largest number of keys that are decided under one lock;
	// longer batches go in several steps.
	MaxPart = keytable.MaxInsert
)

// A Batch is the routed form of up to MaxPart keys of a call: the keys of each
// shard stand side by side, in the order of the call. It is reused from call to
// call and used by one at a time.
type Batch struct {
	// Out receives the verdicts, in the order of the keys.
	Out []dedup.Verdict
	// WaitPos is the position of the log that the answers rest on.
	WaitPos uint64
	// Logged sums the bytes of log that the call took; the caller resets it.
	Logged int
	// Counts sums how the verdicts were found.
	Counts Counts
	// Marked, where it is not nil, receives for each key that is claimed and Duplicate the
	// generation that it was marked in, in the order of the keys.
	Marked []uint64
	// Aside is what the Confirmer keeps with the batch.
	Aside any

	n      int
	keys   [][]byte
	order  []uint64 // hash without the shard's bits
	lo     []uint64
	form   []hash.Form
	at     []int32 // index of the key in the call
	mask   []uint8 // generations that may hold it
	start  [MaxShards + 1]int32
	single int      // the shard of a batch of one key, which has no start
	fixed  bool     // all keys have fixed forms: record is not used
	alike  bool     // all keys have one form
	record [][]byte // stored bytes of the variable forms
	slots  []uint32 // of claims that are going to be marked
	his    []uint64 // hashes, second words and forms in the order of the call, before routing
	los    []uint64
	forms  []hash.Form
	digest [][hash.DigestLen]byte

	oldest     uint64          // generation that counts
	out        []dedup.Verdict // for calls that ask for no verdicts
	now        int64
	op         Op
	lease      int64
	nonce      uint64            // of the next claim
	until      time.Time         // the end of the batch's leases
	claims     []dedup.Claim     // where Claim answers
	version    [MaxShards]uint64 // of each shard at the first look
	added      [MaxShards]uint64 // at its end
	rec        Record
	next       bloom.Ahead // keys some shards further on
	fresh      marks       // of the part at hand
	known      []int32     // keys of the part at hand that a filter knows
	spilled    []int32     // scratch: places in fresh of those that insertNew leaves for the end, keys that a sealed table is asked
	candidates []uint32    // entries of a table for the keys in known
	payload    []byte
	pending    []Pending
}

// Counts sums how answers were found.
type Counts struct {
	Fresh, Duplicate, InFlight, Unknown   uint64
	Unflushed, Confirmed, FalsePositive   uint64 // New is Fresh without FalsePositive
	RunsAsked, Helped, Again              uint64
	DiskWait                              uint64 // ns
	Claimed, Committed, Released, Expired uint64
	Lost, Refreshed                       uint64
}

// A Pending is a key that only the runs can decide.
type Pending struct {
	I     int32  // the key's place in the batch
	Shard uint16 // its shard
	Mask  uint8  // slots of the filter whose runs are to be asked
	Found bool   // set by the Confirmer
	Seq   uint64 // with Found: sequence number of the newest run that holds it
	// With Found: the generation of that run.
	Generation uint64
}

// Oldest returns the oldest generation that counts for the batch.
func (b *Batch) Oldest() uint64 { return b.oldest }

// Fixed reports whether all keys have fixed forms.
func (b *Batch) Fixed() bool { return b.fixed }

// Len returns the number of keys.
func (b *Batch) Len() int { return b.n }

// Key returns the stored form of the i-th routed key; record is nil for the
// fixed forms.
func (b *Batch) Key(i int32) (form hash.Form, order, lo uint64, record []byte) {
	return b.form[i], b.order[i], b.lo[i], b.recordOf(int(i))
}

func (b *Batch) recordOf(i int) []byte {
	if b.fixed {
		return nil
	}
	return b.record[i]
}

// part returns where the keys of a shard stand.
func (b *Batch) part(shard int) (from, to int) { return int(b.start[shard]), int(b.start[shard+1]) }

// grow makes room for n keys.
func (b *Batch) grow(n int) {
	if n == b.n {
		return
	}
	if cap(b.order) < n {
		n := max(n, 64)
		b.order, b.lo = make([]uint64, n), make([]uint64, n)
		b.form, b.at, b.mask = make([]hash.Form, n), make([]int32, n), make([]uint8, n)
		b.his, b.los, b.forms = make([]uint64, n), make([]uint64, n), make([]hash.Form, n)
		b.fresh = marks{at: make([]int32, 0, n), orders: make([]uint64, 0, n)}
		b.known, b.spilled, b.candidates = make([]int32, 0, n), make([]int32, 0, n), make([]uint32, 0, n)
		b.pending = make([]Pending, 0, n) // never moves: see Confirmer.Offer
	}
	b.n = n
	b.order, b.lo, b.form, b.at, b.mask = b.order[:n], b.lo[:n], b.form[:n], b.at[:n], b.mask[:n]
	b.his, b.los, b.forms = b.his[:n], b.los[:n], b.forms[:n]
}

// route hashes keys (at most MaxPart, all of valid length) and puts them in the
// order of their shards by counting. Keys of one shard keep their order.
func (b *Batch) route(h *hash.Hasher, keys [][]byte, shardBits uint) {
	b.grow(len(keys))
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
	shift := (63 - shardBits) & 63 // after one by 1, for no bits are a shard too
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

// sumOthers hashes the keys from the n-th on, those before being of one form.
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

// routeOne is route for one key: no counting, no scatter.
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

// routeRecords finds the stored bytes of the keys of variable forms.
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

// hi restores the whole hash of a key of the shard.
func (s *shard) hi(order uint64) uint64 { return whole(order, s.index, s.set.shardBits) }

func whole(order uint64, shard int, shardBits uint) uint64 {
	return order>>shardBits | bits.RotateLeft64(uint64(shard), -int(shardBits))
}

func (b *Batch) answer(i int, v dedup.Verdict) { b.Out[b.at[i]] = v }
