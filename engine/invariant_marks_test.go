package engine

import (
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
				live := e.window.live()
				marked[live] = append(marked[live], keys...)
				superset(t, e, marked)
				switch round % 6 {
				case 1:
					flushAll(t, e)
				case 2: // leaves a snapshot of the live generation …
					mustClose(t, e)
					e = mustOpen(t, dir, o)
				case 3: // … that is older than these runs
					flushAll(t, e)
					e.crash(t)
					e = mustOpen(t, dir, o)
				case 4, 5:
					clock.advance(o.Window / 4)
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
	for _, g := range e.window.held() {
		if !e.set.Whole(g.number) {
			// Its keys are spread over slots that no column shows: a key whose bits are
			// missing would not be found.
			for _, key := range marked[g.number] {
				mustContain(t, e, key, true)
			}
			continue
		}
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
	if a := receive(t, "the first call ends", first); a.v != dedup.Fresh || a.err != nil {
		t.Errorf("first: %v", a)
	}
	for _, c := range []chan answer{second, third} {
		if a := receive(t, "the other calls end", c); a.v != dedup.Duplicate || a.err != nil {
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
