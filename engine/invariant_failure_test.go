package engine

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/persist"
	"github.com/firstseen/firstseen/shards"
)

// TestI7FailedSync: after a failed sync of the journal the answer is Unknown,
// every call is refused until the directory is opened again, and what was
// acknowledged before is there then.
func TestI7FailedSync(t *testing.T) {
	for _, op := range []string{"sync", "write"} {
		t.Run(op, func(t *testing.T) {
			disk := newHookFS("journal")
			dir, o := t.TempDir(), testOptions(nil)
			o.fs = disk
			e := mustOpen(t, dir, o)
			before := intKeys(0, 100)
			admitAll(t, e, before, dedup.Fresh)
			held := mustClaim(t, e, intKey(500), dedup.Fresh)
			broken := errors.New("the disk is on fire")
			disk.set(func(o string) error {
				if o == op {
					return broken
				}
				return nil
			})
			batch := intKeys(100, 100) // too large for the mapped ring: it is written
			vs, err := e.AdmitBatch(ctx, nil, batch)
			if !errors.Is(err, dedup.ErrFailed) || !errors.Is(err, broken) {
				t.Errorf("the failing call: %v", err)
			}
			for i, v := range vs {
				if v != dedup.Unknown {
					t.Fatalf("key %d of the failed call: %v", i, v)
				}
			}
			disk.set(nil) // a later sync that succeeds proves nothing
			refusedAll(t, e, held, dedup.ErrFailed)
			if err := e.Close(); errors.Is(err, dedup.ErrClosed) {
				t.Errorf("close: %v", err)
			}
			e = mustOpen(t, dir, o)
			admitAll(t, e, before, dedup.Duplicate)
			for i, v := range mustAdmit(t, e, batch...) {
				if v != dedup.Fresh && v != dedup.Duplicate {
					t.Fatalf("key %d of the failed call, after opening again: %v", i, v)
				}
			}
			admitAll(t, e, batch, dedup.Duplicate)
		})
	}
}

// refusedAll calls every method and wants one error.
func refusedAll(t *testing.T, e *Engine, held dedup.Claim, want error) {
	t.Helper()
	v, err := e.Admit(ctx, intKey(0))
	errs := map[string]error{"admit": err}
	if v != dedup.Unknown {
		t.Errorf("admit: %v", v)
	}
	vs, err := e.AdmitBatch(ctx, []dedup.Verdict{dedup.Fresh}, intKeys(0, 3))
	if errs["admit batch"] = err; !slices.Equal(vs, []dedup.Verdict{dedup.Fresh, 0, 0, 0}) {
		t.Errorf("admit batch: %v", vs)
	}
	c, err := e.Claim(ctx, intKey(0))
	if errs["claim"] = err; c.Verdict != dedup.Unknown || c.Token != (dedup.Token{}) {
		t.Errorf("claim: %+v", c)
	}
	cs, err := e.ClaimBatch(ctx, nil, intKeys(0, 2))
	if errs["claim batch"] = err; len(cs) != 2 || cs[0].Verdict != dedup.Unknown {
		t.Errorf("claim batch: %+v", cs)
	}
	ok, err := e.Contains(ctx, intKey(0))
	if errs["contains"] = err; ok {
		t.Error("contains says yes")
	}
	_, errs["extend"] = e.Extend(ctx, held, 0)
	errs["commit"] = e.Commit(ctx, held)
	errs["release"] = e.Release(ctx, held)
	errs["forget"] = e.Forget(ctx, intKey(0))
	errs["snapshot"] = e.Snapshot(ctx)
	for name, err := range errs {
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// TestI7AnswersOfFailedWrite: a call of more than shards.MaxPiece keys, one of them
// invalid behind the first part, keeps none of the first part's answers when the
// write that they rest on failed.
func TestI7AnswersOfFailedWrite(t *testing.T) {
	disk := newHookFS("journal")
	o := testOptions(nil)
	o.fs = disk
	e := mustOpen(t, t.TempDir(), o)
	broken := errors.New("no")
	disk.set(func(string) error { return broken })
	keys := intKeys(0, shards.MaxPiece+100)
	keys[shards.MaxPiece+50] = nil
	vs, err := e.AdmitBatch(ctx, nil, keys)
	if !errors.Is(err, dedup.ErrFailed) {
		t.Fatalf("%v", err)
	}
	for i, v := range vs {
		if v != dedup.Unknown {
			t.Fatalf("key %d: %v, the call failed with %v", i, v, err)
		}
	}
}

// TestI7FailedManifest: a flush that can't promise its runs ends the engine too,
// and loses nothing: the keys are in the journal.
func TestI7FailedManifest(t *testing.T) {
	disk := newHookFS(persist.ManifestName)
	dir, o := t.TempDir(), testOptions(nil)
	o.fs = disk
	e := mustOpen(t, dir, o)
	keys := intKeys(0, 2000)
	admitAll(t, e, keys, dedup.Fresh)
	flushAll(t, e)
	broken := errors.New("no")
	disk.set(func(string) error { return broken })
	more := intKeys(2000, 200)
	admitAll(t, e, more, dedup.Fresh)
	e.set.Seal(^uint64(0))
	eventually(t, "the engine refuses", func() bool {
		_, err := e.Admit(ctx, intKey(0))
		return errors.Is(err, dedup.ErrFailed) && errors.Is(err, broken)
	})
	disk.set(nil)
	refusedAll(t, e, dedup.Claim{}, dedup.ErrFailed)
	_ = e.Close()
	e = mustOpen(t, dir, o)
	admitAll(t, e, keys, dedup.Duplicate)
	admitAll(t, e, more, dedup.Duplicate)
}

// TestI8NoLockAcrossIO: while one caller waits for a run and another for the
// journal's sync, both of the only shard, all others get their answers.
func TestI8NoLockAcrossIO(t *testing.T) {
	disk := newHookFS("journal")
	o := testOptions(nil)
	o.fs, o.Shards = disk, 1
	e := mustOpen(t, t.TempDir(), o)
	admitAll(t, e, intKeys(0, 3000), dedup.Fresh)
	flushAll(t, e)
	let := make(chan struct{}) // the disk works again
	letOnce := sync.OnceFunc(func() { close(let) })
	defer letOnce()
	others := func(doing string, calls func()) {
		t.Helper()
		done := make(chan struct{})
		go func() { defer close(done); calls() }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Errorf("%s: others wait too", doing)
			letOnce()
			<-done
		}
	}
	free := func() {
		c, err := e.Claim(ctx, []byte("nobody's"))
		if err != nil || c.Verdict != dedup.Fresh {
			t.Errorf("claim: %v, %v", c.Verdict, err)
		}
		if err := e.Release(ctx, c); err != nil {
			t.Error(err)
		}
		if ok, err := e.Contains(ctx, []byte("never seen")); ok || err != nil {
			t.Errorf("contains: %v, %v", ok, err)
		}
		if ok, err := e.Contains(ctx, intKey(2)); !ok || err != nil { // rests on a run, not on the journal
			t.Errorf("contains: %v, %v", ok, err)
		}
		_ = e.Stats()
	}
	// A look-up that stays within the runs: the scratch of a Confirm is taken
	// before anything else, and it is not to be had. The pool is a new one: in the
	// old one may be what a filter's wrong "maybe" has left.
	inRuns := make(chan struct{})
	var asked atomic.Bool
	e.store.lookups = sync.Pool{New: func() any {
		if asked.CompareAndSwap(false, true) {
			close(inRuns)
			<-let
		}
		return new(lookup)
	}}
	slow := make(chan error, 2)
	go func() {
		v, err := e.Admit(ctx, intKey(0))
		if v != dedup.Duplicate {
			err = errors.Join(err, fmt.Errorf("the slow look-up says %v", v))
		}
		slow <- err
	}()
	receive(t, "the look-up reaches the runs", inRuns)
	others("one waits for a run", func() {
		free()
		if vs, err := e.AdmitBatch(ctx, nil, intKeys(5000, 100)); err != nil || vs[0] != dedup.Fresh {
			t.Errorf("admit: %v, %v", vs, err)
		}
	})
	// And one that stays in the journal's sync, on top of it.
	syncing := make(chan struct{}, 64)
	disk.set(func(op string) error {
		if op == "sync" {
			syncing <- struct{}{}
			<-let
		}
		return nil
	})
	go func() {
		_, err := e.Admit(ctx, intKey(6000))
		slow <- err
	}()
	receive(t, "the call reaches the sync", syncing)
	others("another waits for a sync", free)
	disk.set(nil)
	letOnce()
	for range 2 {
		if err := receive(t, "the slow call ends", slow); err != nil {
			t.Error(err)
		}
	}
}
