package engine

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
)

// TestI1Superset: every marked key of the window is in its generation's filter,
// through flushes, rotations, growth, a clean restart and a crash, with and
// without the snapshots.
func TestI1Superset(t *testing.T) {
	for _, kind := range []bloom.Kind{bloom.Sliced, bloom.Compact} {
		t.Run(kind.String(), func(t *testing.T) {
			clock := newFakeClock()
			dir, o := t.TempDir(), testOptions(clock)
			o.Filter, o.Capacity = kind, 4000
			e := mustOpen(t, dir, o)
			marked := map[uint64][][]byte{} // by generation
			next := 0
			for round := range 12 {
				keys := intKeys(next, 1500)
				next += len(keys)
				admitAll(t, e, keys, dedup.Fresh)
				live := e.liveNumber()
				marked[live] = append(marked[live], keys...)
				superset(t, e, marked)
				switch round % 6 {
				case 1:
					flushAll(t, e)
				case 2:
					mustClose(t, e)
					e = mustOpen(t, dir, o)
				case 3, 4:
					clock.advance(o.Window / 4)
				case 5:
					e.crash(t)
					e = mustOpen(t, dir, o)
				}
				superset(t, e, marked)
			}
			if len(marked) < 4 {
				t.Errorf("only %d generations were seen", len(marked))
			}
		})
	}
}

// superset asks a copy of each generation's bits for each key.
func superset(t *testing.T, e *Engine, marked map[uint64][][]byte) {
	t.Helper()
	var digest [32]byte
	for _, g := range e.heldGenerations() {
		filters := make([]bloom.Filter, e.opts.Shards)
		for shard := range filters {
			column := e.set.Column(shard, g.number, nil)
			f, err := bloom.New(e.opts.Filter, e.filterConfig(e.capacity.Load()))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if f.SlotBytes() != len(column) {
				return // it is growing at this moment
			}
			f.MergeSlot(0, 0, column)
			filters[shard] = f
		}
		for _, key := range marked[g.number] {
			k := e.hasher.Sum(key, &digest)
			shard := k.Hi >> 32 >> 32 // one shard: no bits
			if n := len(filters); n > 1 {
				shard = k.Hi / (1 << 63 / uint64(n) * 2)
			}
			if filters[shard].Maybe(e.set.Order(k.Hi))&1 == 0 {
				t.Fatalf("key %q is marked in generation %d, its filter says that it isn't", key, g.number)
			}
		}
	}
}

// TestI1DuplicateWaits: a duplicate verdict that rests on a frame which is not on
// disk yet waits for it, or a power loss could take the mark that it is about.
func TestI1DuplicateWaits(t *testing.T) {
	disk := newHookFS("journal")
	o := testOptions(nil)
	o.fs = disk
	e := mustOpen(t, t.TempDir(), o)
	admitAll(t, e, intKeys(0, 10), dedup.Fresh)
	blocked, let := make(chan struct{}, 64), make(chan struct{})
	letOnce := sync.OnceFunc(func() { close(let) })
	defer letOnce()
	disk.set(func(op string) error {
		if op == "sync" {
			blocked <- struct{}{}
			<-let
		}
		return nil
	})
	type answer struct {
		v   dedup.Verdict
		err error
	}
	first, second, third := make(chan answer, 1), make(chan answer, 1), make(chan answer, 1)
	admit := func(to chan answer) {
		v, err := e.Admit(ctx, intKey(100))
		to <- answer{v, err}
	}
	go admit(first)
	select {
	case <-blocked:
	case a := <-first:
		t.Fatalf("the mark was answered without a sync: %v", a)
	}
	go admit(second)
	eventually(t, "the second caller's verdict is known", func() bool { return e.counts.duplicate.Load() == 1 })
	go func() {
		ok, err := e.Contains(ctx, intKey(100))
		v := dedup.Fresh
		if ok {
			v = dedup.Duplicate
		}
		third <- answer{v, err}
	}()
	eventually(t, "what the third is told is known", func() bool { return e.counts.duplicate.Load() == 2 })
	// None of the three may be answered. A wrong answer would come at once.
	select {
	case a := <-first:
		t.Fatalf("the mark was answered before its frame was synced: %v", a)
	case a := <-second:
		t.Fatalf("a duplicate was answered before the frame it rests on was synced: %v", a)
	case a := <-third:
		t.Fatalf("Contains was answered before the frame it rests on was synced: %v", a)
	case <-time.After(100 * time.Millisecond):
	}
	letOnce()
	disk.set(nil)
	if a := <-first; a.v != dedup.Fresh || a.err != nil {
		t.Errorf("first: %v", a)
	}
	for _, c := range []chan answer{second, third} {
		if a := <-c; a.v != dedup.Duplicate || a.err != nil {
			t.Errorf("then: %v", a)
		}
	}
}

// TestI2OneWinner: of 64 goroutines that claim the same keys exactly one gets
// each; a released key goes to exactly one other, at once; an ended lease too.
func TestI2OneWinner(t *testing.T) {
	const callers, keys = 64, 200
	clock := newFakeClock()
	e := mustOpen(t, t.TempDir(), testOptions(clock))
	all := intKeys(0, keys)
	round := func(what string) (won [][]dedup.Claim) {
		t.Helper()
		var winners [keys]atomic.Int32
		won = make([][]dedup.Claim, callers)
		var wg sync.WaitGroup
		for c := range callers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for _, i := range rand.New(rand.NewPCG(uint64(c), 1)).Perm(keys) {
					claim, err := e.Claim(ctx, all[i])
					switch {
					case err != nil:
						t.Error(err)
					case claim.Verdict == dedup.Fresh:
						winners[i].Add(1)
						won[c] = append(won[c], claim)
					case claim.Verdict != dedup.InFlight:
						t.Errorf("%s: %v", what, claim.Verdict)
					}
				}
			}()
		}
		wg.Wait()
		for i := range winners {
			if n := winners[i].Load(); n != 1 {
				t.Errorf("%s: key %d was Fresh to %d callers", what, i, n)
			}
		}
		return won
	}
	for _, cs := range round("claim") {
		if err := e.Release(ctx, cs...); err != nil {
			t.Error(err)
		}
	}
	round("after the release")
	clock.advance(e.opts.Lease)
	won := round("after the lease")
	for _, cs := range won {
		if err := e.Commit(ctx, cs...); err != nil {
			t.Error(err)
		}
	}
	admitAll(t, e, all, dedup.Duplicate)
}

// TestI2ConcurrentMarks: many callers mark the same keys, each in its own order,
// through flushes and rotations: each key is Fresh to exactly one.
func TestI2ConcurrentMarks(t *testing.T) {
	const callers, keys, batch = 8, 12_000, 64
	clock := newFakeClock()
	o := testOptions(clock)
	o.BitsPerKey, o.tableKeys, o.Capacity = 8, 200, 4000
	o.Sync = SyncNone
	e := mustOpen(t, t.TempDir(), o)
	all := intKeys(0, keys)
	var fresh [keys]atomic.Int32
	var wg sync.WaitGroup
	for c := range callers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			order := rand.New(rand.NewPCG(uint64(c), 2)).Perm(keys)
			var vs []dedup.Verdict
			for len(order) > 0 {
				part := order[:min(batch, len(order))]
				order = order[len(part):]
				ks := make([][]byte, len(part))
				for i, n := range part {
					ks[i] = all[n]
				}
				var err error
				if vs, err = e.AdmitBatch(ctx, vs[:0], ks); err != nil {
					t.Error(err)
					return
				}
				for i, v := range vs {
					switch v {
					case dedup.Fresh:
						fresh[part[i]].Add(1)
					case dedup.Duplicate:
					default:
						t.Errorf("key %d: %v", part[i], v)
					}
				}
				clock.advance(o.Window / 2 / (callers * keys / batch)) // half a window in all
			}
		}()
	}
	wg.Wait()
	for i := range fresh {
		if n := fresh[i].Load(); n != 1 {
			t.Fatalf("key %d was Fresh %d times", i, n)
		}
	}
}

// collidingKeys have equal XXH64 under every seed (facts).
func collidingKeys(t testing.TB) (a, b []byte) {
	a, err := hex.DecodeString("6f726465722d30303030303030303031")
	if err != nil {
		t.Fatal(err)
	}
	if b, err = hex.DecodeString("8f6563cd7478b85030303030df7bbd47"); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// TestI3WholeKeyDecides: keys with one hash are several keys, one after the other
// and in one batch, claimed, unflushed, in runs and after a restart.
func TestI3WholeKeyDecides(t *testing.T) {
	a, b := collidingKeys(t)
	long := []byte("customer/00000001/invoice")
	pairs := map[string][2][]byte{"16 bytes": {a, b}, "variable": {long, collide(long)}}
	for name, p := range pairs {
		for _, untrusted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/untrusted=%v", name, untrusted), func(t *testing.T) {
				dir, o := t.TempDir(), testOptions(nil)
				o.UntrustedKeys = untrusted
				e := mustOpen(t, dir, o)
				if name == "variable" && !untrusted {
					var digest [32]byte
					if x, y := e.hasher.Sum(p[0], &digest), e.hasher.Sum(p[1], &digest); x != y || bytes.Equal(p[0], p[1]) {
						t.Fatalf("hashes %x and %x: the test shows nothing", x, y)
					}
				}
				claims, err := e.ClaimBatch(ctx, nil, p[:])
				if err != nil || claims[0].Verdict != dedup.Fresh || claims[1].Verdict != dedup.Fresh {
					t.Fatalf("claims: %v, %v", claims, err)
				}
				if err := e.Release(ctx, claims[0]); err != nil {
					t.Fatal(err)
				}
				if got := mustAdmit(t, e, p[0], p[1], p[0]); fmt.Sprint(got) != "[fresh in-flight duplicate]" {
					t.Fatalf("with the second claimed: %v", got)
				}
				if err := e.Release(ctx, claims[1]); err != nil {
					t.Fatal(err)
				}
				mustContain(t, e, p[1], false)
				flushAll(t, e) // now one of them is in a run
				mustContain(t, e, p[0], true)
				mustContain(t, e, p[1], false)
				if got := mustAdmit(t, e, p[1], p[1], p[0]); fmt.Sprint(got) != "[fresh duplicate duplicate]" {
					t.Fatalf("with the first in a run: %v", got)
				}
				if err := e.Forget(ctx, p[0]); err != nil {
					t.Fatal(err)
				}
				mustClose(t, e)
				e = mustOpen(t, dir, o)
				if got := mustAdmit(t, e, p[1], p[0], p[1]); fmt.Sprint(got) != "[duplicate fresh duplicate]" {
					t.Fatalf("with the first forgotten, after a restart: %v", got)
				}
			})
		}
	}
}

// TestI3OneBatch: both colliding keys are Fresh in one batch and alone, whichever
// comes first.
func TestI3OneBatch(t *testing.T) {
	a, b := collidingKeys(t)
	e := mustOpen(t, t.TempDir(), testOptions(nil))
	if got := mustAdmit(t, e, a, b, b, a); fmt.Sprint(got) != "[fresh fresh duplicate duplicate]" {
		t.Errorf("in one batch: %v", got)
	}
	e = mustOpen(t, t.TempDir(), testOptions(nil))
	if x, y := mustAdmit(t, e, b)[0], mustAdmit(t, e, a)[0]; x != dedup.Fresh || y != dedup.Fresh {
		t.Errorf("one after the other: %v, %v", x, y)
	}
}

// TestI3Forms: the same 16 bytes raw, as UUID text and as upper-case text are
// three keys; long keys count as a whole.
func TestI3Forms(t *testing.T) {
	e := mustOpen(t, t.TempDir(), testOptions(nil))
	raw, _ := hex.DecodeString("f81d4fae7dec11d0a76500a0c91e6bf6")
	keys := [][]byte{raw, []byte("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), []byte("F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"),
		bytes.Repeat([]byte("x"), 300), bytes.Repeat([]byte("x"), 301), append(bytes.Repeat([]byte("x"), 299), 'y')}
	admitAll(t, e, keys, dedup.Fresh)
	admitAll(t, e, keys, dedup.Duplicate)
	flushAll(t, e)
	admitAll(t, e, keys, dedup.Duplicate)
}

// TestI6TokenEndsClaim: a stale, forged or foreign token changes nothing and gets
// ErrLeaseLost; the rest of its call is done all the same.
func TestI6TokenEndsClaim(t *testing.T) {
	clock := newFakeClock()
	dir, o := t.TempDir(), testOptions(clock)
	e := mustOpen(t, dir, o)
	key, other := intKey(1), intKey(2)
	stale := mustClaim(t, e, key, dedup.Fresh)
	released := mustClaim(t, e, intKey(3), dedup.Fresh)
	committed := mustClaim(t, e, intKey(4), dedup.Fresh)
	if err := errors.Join(e.Release(ctx, released), e.Commit(ctx, committed)); err != nil {
		t.Fatal(err)
	}
	clock.advance(e.opts.Lease)
	owner := mustClaim(t, e, key, dedup.Fresh) // took over
	forged := owner
	forged.Token[15]++
	nobody := dedup.Claim{Key: key, Verdict: dedup.Fresh}
	far := owner
	far.Token[0], far.Token[3], far.Token[7] = 0xff, 0x7f, 0x7f
	bad := map[string]dedup.Claim{"stale": stale, "released": released, "committed": committed, "forged": forged, "zero": nobody, "far": far}
	check := func() {
		t.Helper()
		mustClaim(t, e, key, dedup.InFlight)
		mustContain(t, e, key, false)
		mustContain(t, e, intKey(3), false)
		mustContain(t, e, intKey(4), true)
	}
	for name, c := range bad {
		if err := e.Commit(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
			t.Errorf("%s, commit: %v", name, err)
		}
		check()
		if err := e.Release(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
			t.Errorf("%s, release: %v", name, err)
		}
		check()
		if _, err := e.Extend(ctx, c, time.Hour); !errors.Is(err, dedup.ErrLeaseLost) {
			t.Errorf("%s, extend: %v", name, err)
		}
		check()
	}
	good := mustClaim(t, e, other, dedup.Fresh)
	if err := e.Commit(ctx, stale, good, forged); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Errorf("a commit with stale ones: %v", err)
	}
	mustContain(t, e, other, true)
	if got := e.Stats().Claims.Lost; got != uint64(3*len(bad)+2) {
		t.Errorf("%d ends are counted as lost, want %d", got, 3*len(bad)+2)
	}
	mustClose(t, e)
	e = mustOpen(t, dir, o)
	again := mustClaim(t, e, key, dedup.Fresh) // claims live in memory only
	if err := e.Commit(ctx, owner); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Errorf("a claim of the engine before: %v", err)
	}
	mustClaim(t, e, key, dedup.InFlight)
	if err := e.Commit(ctx, again); err != nil {
		t.Error(err)
	}
}
