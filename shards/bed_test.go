package shards

import (
	"context"
	"math/bits"
	"slices"
	"testing"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

// bed is a Set with all that it needs around it.
type bed struct {
	t      testing.TB
	c      Config
	set    *Set
	log    *memLog
	runs   *memRuns
	oldest uint64
	live   uint64
	now    int64
}

func testHasher(untrusted bool) *hash.Hasher {
	return hash.New([32]byte{1, 2, 3}, untrusted)
}

// newBed returns a set of the given shape; every number may be zero.
func newBed(t testing.TB, c Config) *bed {
	t.Helper()
	h := &bed{t: t, log: &memLog{}, now: 1000, oldest: 1, live: 1}
	if c.Shards == 0 {
		c.Shards = 4
	}
	if c.Generations == 0 {
		c.Generations = 8
	}
	if c.Hasher == nil {
		c.Hasher = testHasher(false)
	}
	if c.Filter.Keys == 0 {
		c.Filter = bloom.Config{Keys: 10_000, BitsPerKey: 16}
	}
	c.Filter.Generations = c.Generations
	if c.MaxKeys == 0 {
		c.MaxKeys = 10_000
	}
	if c.MaxSealed == 0 {
		c.MaxSealed = 1000
	}
	c.Generation, c.Log = h.live, h.log
	h.runs = &memRuns{shardBits: uint(bits.TrailingZeros(uint(c.Shards))), byShard: map[int][]*memRun{}}
	c.Confirmer, c.Sealed = h.runs, func() {}
	h.c = c
	h.makeSet()
	t.Cleanup(func() { h.set.Close() })
	return h
}

func (h *bed) makeSet() {
	h.t.Helper()
	var err error
	if h.set, err = NewSet(h.c); err != nil {
		h.t.Fatal(err)
	}
}

func (h *bed) admit(keys ...[]byte) []dedup.Verdict {
	h.t.Helper()
	var b Batch
	b.Out = make([]dedup.Verdict, len(keys))
	h.set.Route(&b, keys)
	if err := h.set.Admit(context.Background(), &b, h.now); err != nil {
		h.t.Fatal(err)
	}
	if b.Counts.Fresh > 0 && b.WaitPos == 0 {
		h.t.Fatal("fresh keys rest on no position of the log")
	}
	return b.Out
}

func (h *bed) look(keys ...[]byte) []dedup.Verdict {
	h.t.Helper()
	var b Batch
	b.Out = make([]dedup.Verdict, len(keys))
	h.set.Route(&b, keys)
	if err := h.set.Look(context.Background(), &b, h.now); err != nil {
		h.t.Fatal(err)
	}
	return b.Out
}

func (h *bed) claim(lease int64, keys ...[]byte) []dedup.Claim {
	h.t.Helper()
	var b Batch
	out := make([]dedup.Claim, len(keys))
	b.Out = make([]dedup.Verdict, len(keys))
	h.set.Route(&b, keys)
	if err := h.set.Claim(context.Background(), &b, h.now, lease, 0, out); err != nil {
		h.t.Fatal(err)
	}
	for i := range out {
		switch b.Out[i] {
		case dedup.Fresh, dedup.InFlight:
			if out[i].Verdict != b.Out[i] {
				h.t.Fatalf("key %d: claim says %v, verdict is %v", i, out[i].Verdict, b.Out[i])
			}
		}
		out[i].Verdict = b.Out[i]
	}
	return out
}

// commit and release return which claims were lost.
func (h *bed) commit(cs ...dedup.Claim) []bool {
	h.t.Helper()
	var b Batch
	lost := make([]bool, len(cs))
	if err := h.set.Commit(context.Background(), &b, cs, h.now, lost); err != nil {
		h.t.Fatal(err)
	}
	return lost
}

func (h *bed) release(cs ...dedup.Claim) []bool {
	var b Batch
	lost := make([]bool, len(cs))
	h.set.Release(&b, cs, lost)
	return lost
}

func (h *bed) forget(key []byte) {
	h.t.Helper()
	var b Batch
	h.set.Route(&b, [][]byte{key})
	if err := h.set.Forget(&b, h.now); err != nil {
		h.t.Fatal(err)
	}
}

// flushOne makes a run of the oldest sealed table, if there is one.
func (h *bed) flushOne() bool {
	u := h.set.Next()
	if u == nil {
		return false
	}
	r := &memRun{generation: u.Generation, seq: u.Seq, end: u.End, keys: map[string]bool{}, tombstones: u.Tombstones}
	for form := range hash.Form(hash.Forms) {
		pairs := u.Sorted(form, nil, func() {})
		for i, p := range pairs {
			lo, record := p.Lo, []byte(nil)
			if !form.Fixed() {
				lo, record = 0, slices.Clone(u.Record(form, p))
			}
			if i > 0 && p.Hi < pairs[i-1].Hi {
				h.t.Errorf("a table comes out unsorted: %x after %x", p.Hi, pairs[i-1].Hi)
			}
			if int(p.Hi>>(64-h.set.shardBits)) != u.Shard && h.set.shardBits > 0 {
				h.t.Errorf("shard %d holds hash %x", u.Shard, p.Hi)
			}
			r.keys[tombKey(form, p.Hi, lo, record)] = true
			r.orders = append(r.orders, h.set.Order(p.Hi))
		}
	}
	if len(r.keys) != u.Keys() {
		h.t.Errorf("a table of %d keys gives %d", u.Keys(), len(r.keys))
	}
	h.set.Published(u, func() {
		h.runs.mu.Lock()
		defer h.runs.mu.Unlock()
		r.slots = 1 << u.Slot
		h.runs.byShard[u.Shard] = append([]*memRun{r}, h.runs.byShard[u.Shard]...)
	})
	return true
}

func (h *bed) flushAll() {
	h.set.Seal(^uint64(0))
	for h.flushOne() {
	}
}

// rotate begins a generation; as many old ones are retired as must be.
func (h *bed) rotate() {
	h.live++
	if h.live-h.oldest >= uint64(h.c.Generations) {
		h.retire(h.live - uint64(h.c.Generations) + 1)
	}
	h.set.Rotate(h.live)
}

// keyOfOrder returns a key of 16 bytes with a given order.
func (h *bed) keyOfOrder(order uint64) []byte {
	hi := wholeHash(order, 0, h.set.shardBits)
	return h.c.Hasher.Text(hash.Key{Hi: hi, Lo: order, Form: hash.Raw16})
}

// retire makes oldest the oldest generation.
func (h *bed) retire(oldest uint64) {
	h.oldest = oldest
	h.set.Retire(oldest)
}

// restart makes a new set from the runs and the log, as opening does.
func (h *bed) restart() {
	h.t.Helper()
	tail := h.set.LogTail(h.log.end, nil)
	h.set.Close()
	h.c.Generation = h.live
	h.makeSet()
	keys := make([]uint64, h.live-h.oldest+1)
	for _, runs := range h.runs.byShard {
		for _, r := range runs {
			if r.generation >= h.oldest {
				keys[r.generation-h.oldest] += uint64(len(r.orders))
			}
		}
	}
	h.set.AssignSlots(h.oldest, keys)
	for g := h.oldest; g <= h.live; g++ {
		h.set.AddGeneration(g, false, false)
	}
	h.set.SetOldest(h.oldest)
	covered := map[int]uint64{}
	for shard, runs := range h.runs.byShard {
		runs = slices.DeleteFunc(runs, func(r *memRun) bool { return r.generation < h.oldest })
		h.runs.byShard[shard] = runs
		for _, r := range slices.Backward(runs) {
			slot := h.set.PlaceRun(shard, r.generation, uint64(len(r.orders)), false)
			r.slots = 1 << slot
			covered[shard] = max(covered[shard], r.end)
			h.set.SetSeq(shard, r.seq+1)
			h.set.AddOrders(shard, slot, r.orders)
			for _, tomb := range r.tombstones {
				h.set.AddTombstone(shard, tomb, r.seq, r.generation)
			}
		}
	}
	var b Batch
	for i := range h.log.records {
		r := &h.log.records[i]
		if r.end <= covered[r.Shard] || r.Generation < h.oldest {
			continue
		}
		if r.start < tail {
			h.t.Fatalf("the record at %d is needed, the tail was %d", r.start, tail)
		}
		if err := h.set.Replay(&b, &r.LogEntry, r.start, r.end); err != nil {
			h.t.Fatal(err)
		}
	}
	h.set.EndReplay()
}
