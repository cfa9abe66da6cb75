package shards

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
)

// claimsTwin holds the claims of one shard against a map.
type claimsTwin struct {
	t    *testing.T
	got  claims
	want map[string]claim
	at   map[string]int
	used uint64 // numbers of tokens
}

// put adds a claim with all that it says.
func (c *claims) put(n claim) int {
	at, s := c.add(n.order)
	n.next = s.next
	*s = n
	return at
}

func claimID(form hash.Form, order, lo uint64, record []byte) string {
	return fmt.Sprint(form, order, lo, string(record))
}

func (w *claimsTwin) put(c claim) {
	w.used++
	c.nonce = w.used
	id := claimID(c.form, c.order, c.lo, c.record)
	w.want[id] = c
	if c.record != nil {
		c.record = w.got.spare.copyOf(c.record)
	}
	w.at[id] = w.got.put(c)
}

func (w *claimsTwin) check(ids map[string]claim) {
	w.t.Helper()
	if w.got.live != len(w.want) {
		w.t.Fatalf("%d claims live, want %d", w.got.live, len(w.want))
	}
	for id, c := range ids {
		at := w.got.find(c.form, c.order, c.lo, c.record)
		want, held := w.want[id]
		switch {
		case !held && at >= 0:
			w.t.Fatalf("%s is found, nobody holds it", id)
		case held && at != w.at[id]:
			w.t.Fatalf("%s is found at %d, it lies at %d", id, at, w.at[id])
		case held && w.got.get(uint32(at), want.nonce) == nil:
			w.t.Fatalf("%s: its token ends nothing", id)
		case held && w.got.get(uint32(at), want.nonce+1) != nil:
			w.t.Fatalf("%s: another token ends it", id)
		}
	}
	bytes := 0
	for _, record := range w.got.spare.records {
		bytes += cap(record)
	}
	if s := &w.got.spare; bytes != s.bytes || bytes > s.most {
		w.t.Fatalf("spare records hold %d bytes, counted as %d, at most %d are allowed", bytes, s.bytes, s.most)
	}
}

// TestClaimsTwin: few orders, so that the index is full of long chains.
func TestClaimsTwin(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			ids := map[string]claim{}
			for len(ids) < 300 {
				c := claim{order: rng.Uint64() << 56, lo: rng.Uint64N(4), form: hash.Form(rng.IntN(2))}
				switch rng.IntN(3) {
				case 0:
					c.order = ^uint64(0) - rng.Uint64N(20) // the index's end
				case 1:
					c.form, c.lo, c.record = hash.Bytes, 0, fmt.Appendf(nil, "%0*d", 1+rng.IntN(40), rng.IntN(10))
				}
				ids[claimID(c.form, c.order, c.lo, c.record)] = c
			}
			w := &claimsTwin{t: t, want: map[string]claim{}, at: map[string]int{}}
			w.got.spare.most = 500
			for range 40 {
				for id, c := range ids {
					c.expires = rng.Int64N(1000)
					if _, held := w.want[id]; held {
						if rng.IntN(2) == 0 {
							w.got.remove(w.at[id])
							delete(w.want, id)
						}
					} else if rng.IntN(3) == 0 {
						w.put(c)
					}
				}
				w.check(ids)
				if rng.IntN(4) == 0 {
					w.sweep(rng.Int64N(1000), 1+rng.IntN(100))
					w.check(ids)
				}
			}
		})
	}
}

func (w *claimsTwin) sweep(before int64, limit int) {
	w.t.Helper()
	want := uint64(0)
	for id, c := range w.want {
		if c.expires < before {
			delete(w.want, id)
			want++
		}
	}
	got := uint64(0)
	for from, steps := 0, 0; ; steps++ {
		next, n := w.got.sweep(from, limit, before)
		got += n
		if next == 0 {
			break
		}
		if next <= from || steps > 1000 {
			w.t.Fatalf("a sweep from %d goes on at %d", from, next)
		}
		from = next
	}
	if got != want {
		w.t.Fatalf("%d claims swept, want %d", got, want)
	}
}

// TestClaimsGet: a token of a freed, reused or unknown slot ends nothing (I6).
func TestClaimsGet(t *testing.T) {
	var c claims
	if c.get(0, 1) != nil || c.find(hash.Raw16, 1, 1, nil) != -1 {
		t.Fatal("an empty index knows a claim")
	}
	at := uint32(c.put(claim{order: 5, lo: 6, nonce: 1}))
	if c.get(at, 1) == nil || c.get(at, 2) != nil || c.get(at, 0) != nil || c.get(at+1, 1) != nil || c.get(1<<31, 1) != nil {
		t.Fatal("get doesn't go by slot and number")
	}
	c.remove(int(at))
	if c.get(at, 1) != nil || c.get(at, 0) != nil {
		t.Fatal("a removed claim can be ended")
	}
	if again := uint32(c.put(claim{order: 5, lo: 6, nonce: 2})); again != at || c.get(at, 1) != nil || c.get(at, 2) == nil {
		t.Fatal("the next claim of the slot answers to the old token")
	}
}

func TestToken(t *testing.T) {
	f := func(shard, slot int, nonce uint64) {
		t.Helper()
		token := newToken(newPlace(shard, slot), nonce)
		if got := split(token); int(got.shard) != shard || int(got.slot) != slot || got.number != nonce || token == (dedup.Token{}) {
			t.Errorf("(%d, %d, %d) comes back as %+v", shard, slot, nonce, got)
		}
	}
	f(0, 0, 1)
	f(255, 1<<31-1, ^uint64(0))
	f(16, 3, 1<<63)
}
