package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine/inspect"
	"github.com/firstseen/firstseen/persist"
)

func resultOptions(clock *fakeClock) config {
	o := testOptions(clock)
	o.MaxResult = 1000
	return o
}

// commitResult claims a key and commits it with a result.
func commitResult(t testing.TB, e *Engine, key []byte, result string) {
	t.Helper()
	c := mustClaim(t, e, key, dedup.Fresh)
	c.Result = []byte(result)
	if err := e.Commit(ctx, c); err != nil {
		t.Fatalf("commit %.40q: %v", key, err)
	}
}

// wantResult claims a key that must be a duplicate with a result.
func wantResult(t testing.TB, e *Engine, key []byte, result string) {
	t.Helper()
	if c := mustClaim(t, e, key, dedup.Duplicate); string(c.Result) != result {
		t.Fatalf("key %.40q: result %.40q, want %.40q", key, c.Result, result)
	}
}

// wantResultError claims a key that must be a duplicate without a result, for a reason.
func wantResultError(t testing.TB, e *Engine, key []byte, want error) {
	t.Helper()
	c, err := e.Claim(ctx, key)
	if c.Verdict != dedup.Duplicate || !errors.Is(err, want) || c.Result != nil {
		t.Fatalf("key %.40q: %v, result %.40q, %v, want %v", key, c.Verdict, c.Result, err, want)
	}
}

// formKeys are keys of each form.
func formKeys() [][]byte {
	return [][]byte{intKey(1), []byte("0190b5a6-7c1e-7abc-8def-0123456789ab"), []byte("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
		[]byte("order-17"), bytes.Repeat([]byte("long"), 100)}
}

// reopen closes an engine and opens its directory again.
func reopen(t testing.TB, e *Engine) *Engine {
	t.Helper()
	mustClose(t, e)
	return mustOpen(t, e.dir, e.opts)
}

func TestResults(t *testing.T) {
	clock := newFakeClock()
	e := mustOpen(t, t.TempDir(), resultOptions(clock))
	check := func(when string) {
		t.Helper()
		for i, key := range formKeys() {
			wantResult(t, e, key, fmt.Sprintf("%s result %d", when, i))
		}
		wantResult(t, e, []byte("without"), "")
		wantResult(t, e, []byte("on sight"), "")
		wantResultError(t, e, []byte("large"), dedup.ErrResultTooLarge)
	}
	for i, key := range formKeys() {
		commitResult(t, e, key, fmt.Sprintf("first result %d", i))
	}
	commitResult(t, e, []byte("without"), "")
	mustAdmit(t, e, []byte("on sight"))
	c := mustClaim(t, e, []byte("large"), dedup.Fresh)
	c.Result = make([]byte, 1001)
	if err := e.Commit(ctx, c); !errors.Is(err, dedup.ErrResultTooLarge) || !slices.Equal(dedup.IndexesOf(err, dedup.ErrResultTooLarge), []int{0}) {
		t.Errorf("too large a result: %v", err)
	}
	check("first")
	flushAll(t, e)
	check("first")
	clock.advance(2 * time.Hour) // the next generation
	check("first")
	e = reopen(t, e)
	check("first")
	e.crash(t)
	e = mustOpen(t, e.dir, e.opts)
	check("first")
	if s := e.Stats().Results; s.Answered == 0 || len(s.Generations) != 1 || s.Generations[0].Records != 6 {
		t.Errorf("stats %+v", s)
	}
}

// TestResultsBatch: indexes are those of the call, whatever else is wrong in it, and one sync serves
// all of it.
func TestResultsBatch(t *testing.T) {
	e := mustOpen(t, t.TempDir(), resultOptions(nil))
	keys := intKeys(0, 3000) // more than a part
	keys[7] = nil
	cs, err := e.ClaimBatch(ctx, nil, keys)
	if !slices.Equal(dedup.IndexesOf(err, dedup.ErrKeyInvalid), []int{7}) {
		t.Fatal(err)
	}
	for i := range cs {
		switch {
		case i%3 == 0:
			cs[i].Result = fmt.Appendf(nil, "result %d", i)
		case i%1000 == 500:
			cs[i].Result = make([]byte, 2000)
		}
	}
	if err := e.Release(ctx, cs[9]); err != nil {
		t.Fatal(err)
	}
	err = e.Commit(ctx, cs...)
	if lost := dedup.IndexesOf(err, dedup.ErrLeaseLost); !slices.Equal(lost, []int{9}) {
		t.Errorf("lost %v", lost)
	}
	tooLarge := []int{500, 2500}
	if large := dedup.IndexesOf(err, dedup.ErrResultTooLarge); !slices.Equal(large, tooLarge) {
		t.Errorf("too large %v", large)
	}
	again, err := e.ClaimBatch(ctx, nil, keys)
	if large := dedup.IndexesOf(err, dedup.ErrResultTooLarge); !slices.Equal(large, tooLarge) {
		t.Errorf("claimed again: too large %v", large)
	}
	for i, c := range again {
		want, result := dedup.Duplicate, ""
		switch {
		case i == 7:
			want = dedup.Unknown
		case i == 9:
			want = dedup.Fresh
		case i%3 == 0:
			result = fmt.Sprintf("result %d", i)
		}
		if c.Verdict != want || string(c.Result) != result {
			t.Fatalf("key %d: %v with %q, want %v with %q", i, c.Verdict, c.Result, want, result)
		}
	}

	before := e.Stats().Results.Syncs
	cs, err = e.ClaimBatch(ctx, cs[:0], intKeys(10_000, 1000))
	if err != nil {
		t.Fatal(err)
	}
	for i := range cs {
		cs[i].Result = []byte("of a batch")
	}
	if err := e.Commit(ctx, cs...); err != nil {
		t.Fatal(err)
	}
	if n := e.Stats().Results.Syncs - before; n != 1 {
		t.Errorf("%d syncs of results for one commit of 1,000", n)
	}
}

// TestResultsUnwanted: without MaxResult none is kept, which is told then and later.
func TestResultsUnwanted(t *testing.T) {
	o := testOptions(nil)
	e := mustOpen(t, t.TempDir(), o)
	c := mustClaim(t, e, intKey(1), dedup.Fresh)
	c.Result = []byte("x")
	if err := e.Commit(ctx, c); !errors.Is(err, dedup.ErrResultTooLarge) {
		t.Errorf("commit: %v", err)
	}
	wantResultError(t, e, intKey(1), dedup.ErrResultTooLarge)
	e = reopen(t, e)
	wantResultError(t, e, intKey(1), dedup.ErrResultTooLarge)

	o.Mode = Approximate
	e = mustOpen(t, t.TempDir(), o)
	c = mustClaim(t, e, intKey(1), dedup.Fresh)
	c.Result = []byte("x")
	if err := e.Commit(ctx, c); !errors.Is(err, dedup.ErrResultTooLarge) {
		t.Errorf("approximate: commit: %v", err)
	}
	mustContain(t, e, intKey(1), true)
}

// TestResultsFirst: a call under way while the engine gets its first result finds it with the mark.
func TestResultsFirst(t *testing.T) {
	o := resultOptions(newFakeClock())
	now, key := o.Now, intKey(1)
	var e *Engine
	var armed atomic.Bool
	o.Now = func() time.Time { // a claim looks at the clock right before it decides
		if armed.Load() && strings.Contains(string(debug.Stack()), "doClaim") && armed.Swap(false) {
			commitResult(t, e, key, "the first")
		}
		return now()
	}
	e = mustOpen(t, t.TempDir(), o)
	armed.Store(true)
	wantResult(t, e, key, "the first")
	if armed.Load() {
		t.Error("nothing came in between")
	}
}

// TestResultsCostNothing: an engine to which no result comes has no directory for them, and its
// manifest is the one that programs without results read.
func TestResultsCostNothing(t *testing.T) {
	e := mustOpen(t, t.TempDir(), resultOptions(nil))
	commitResult(t, e, intKey(1), "")
	mustClose(t, e)
	if ids, err := persist.ListResults(e.dir); err != nil || len(ids) > 0 {
		t.Errorf("there are results: %v, %v", ids, err)
	}
	m, err := os.ReadFile(e.dir + "/" + persist.ManifestName)
	if err != nil || m[8] != 1 {
		t.Errorf("a manifest of version %d, %v", m[8], err)
	}
}

// TestResultsPinned: while a commit is under way nobody else can end its claim, and the end of
// its lease gives the key to nobody.
func TestResultsPinned(t *testing.T) {
	clock := newFakeClock()
	o := resultOptions(clock)
	written, goOn := make(chan bool), make(chan bool)
	goOnce := sync.OnceFunc(func() { close(goOn) })
	o.phase = func(name string) func() {
		if name == "result" {
			written <- true
			<-goOn
		}
		return func() {}
	}
	e := mustOpen(t, t.TempDir(), o)
	t.Cleanup(goOnce) // before the engine closes
	c := mustClaim(t, e, intKey(1), dedup.Fresh)
	c.Result = []byte("the winner's")
	done := make(chan error, 1)
	go func() { done <- e.Commit(ctx, c) }()
	receive(t, "the result is written", written)

	clock.advance(3 * o.Lease)
	if e.set.Sweep(clock.now().UnixNano()) > 0 {
		t.Error("the sweep took a pinned claim")
	}
	if v, err := e.Admit(ctx, intKey(1)); v != dedup.InFlight || err != nil {
		t.Errorf("admit meanwhile: %v, %v", v, err)
	}
	mustClaim(t, e, intKey(1), dedup.InFlight)
	late := c
	late.Result = []byte("a late loser's")
	_, xerr := e.Extend(ctx, c, 0)
	plain := c
	plain.Result = nil
	for what, err := range map[string]error{"extend": xerr, "release": e.Release(ctx, c), "a commit": e.Commit(ctx, late),
		"a commit without a result": e.Commit(ctx, plain)} {
		if !errors.Is(err, dedup.ErrLeaseLost) {
			t.Errorf("%s of a pinned claim: %v", what, err)
		}
	}
	goOnce()
	if err := receive(t, "the commit's end", done); err != nil {
		t.Fatal(err)
	}
	wantResult(t, e, intKey(1), "the winner's")
	if err := e.Commit(ctx, late); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Errorf("a late commit: %v", err)
	}
	wantResult(t, e, intKey(1), "the winner's")
}

// TestResultsTwins: of equal claims in one call one wins, the one with a result.
func TestResultsTwins(t *testing.T) {
	e := mustOpen(t, t.TempDir(), resultOptions(nil))
	c := mustClaim(t, e, intKey(1), dedup.Fresh)
	with, other := c, c
	with.Result, other.Result = []byte("kept"), []byte("not kept")
	err := e.Commit(ctx, c, with, other)
	if lost := dedup.IndexesOf(err, dedup.ErrLeaseLost); !slices.Equal(lost, []int{0, 2}) {
		t.Errorf("lost %v of %v", lost, err)
	}
	wantResult(t, e, intKey(1), "kept")
}

// TestResultsFailure: a commit that fails gives its claims back as they were, and none of what it
// had written is ever answered.
func TestResultsFailure(t *testing.T) {
	o := resultOptions(nil)
	o.Shards = 1
	hook := newHookFS(persist.ManifestName + ".tmp")
	o.fs = hook
	var atWritten func()
	o.phase = func(name string) func() {
		if name == "result" && atWritten != nil {
			atWritten()
		}
		return func() {}
	}
	e := mustOpen(t, t.TempDir(), o)
	commitResult(t, e, intKey(0), "so that there is a directory")

	stopped, stop := context.WithCancel(ctx)
	blocked := make(chan bool)
	goOn := sync.OnceFunc(func() { close(blocked) })
	t.Cleanup(goOn)      // before the engine closes
	atWritten = func() { // the marks find no room, and the caller goes
		hook.set(func(string) error { <-blocked; return nil })
		for from := 1000; ; from += 100 {
			short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			_, err := e.AdmitBatch(short, nil, intKeys(from, 100))
			cancel()
			if err != nil {
				break
			}
		}
		stop()
	}
	c := mustClaim(t, e, intKey(1), dedup.Fresh)
	c.Result = []byte("never answered")
	if err := e.Commit(stopped, c); !errors.Is(err, context.Canceled) {
		t.Fatalf("commit without room: %v", err)
	}
	atWritten = nil
	goOn()
	if err := e.Release(ctx, c); err != nil {
		t.Errorf("release after the failed commit: %v", err)
	}
	mustAdmit(t, e, intKey(1))
	wantResult(t, e, intKey(1), "")
	e = reopen(t, e)
	wantResult(t, e, intKey(1), "")
}

// TestResultsLate: where a generation begins before the mark, the result is written again.
func TestResultsLate(t *testing.T) {
	for spans := 0; spans <= 4; spans++ {
		clock := newFakeClock()
		o := resultOptions(clock)
		var e *Engine
		once := false
		o.phase = func(name string) func() {
			if name == "result" && !once {
				once = true
				for range spans {
					clock.advance(2 * time.Hour)
					mustContain(t, e, intKey(9), false) // rotates
				}
			}
			return func() {}
		}
		e = mustOpen(t, t.TempDir(), o)
		commitResult(t, e, intKey(1), "found")
		wantResult(t, e, intKey(1), "found")
		for i := range 4 {
			clock.advance(2*time.Hour - time.Second)
			wantResult(t, e, intKey(1), "found")
			if i == 2 {
				e = reopen(t, e)
			}
		}
	}
}

// TestResultsForgotten: what is forgotten, or older than the window, is never answered for a later mark.
func TestResultsForgotten(t *testing.T) {
	clock := newFakeClock()
	e := mustOpen(t, t.TempDir(), resultOptions(clock))
	commitResult(t, e, intKey(1), "first")
	commitResult(t, e, intKey(2), "first")
	commitResult(t, e, intKey(3), "first")
	if err := errors.Join(e.Forget(ctx, intKey(1)), e.Forget(ctx, intKey(2)), e.Forget(ctx, intKey(7))); err != nil {
		t.Fatal(err)
	}
	mustAdmit(t, e, intKey(1))
	wantResult(t, e, intKey(1), "")
	clock.advance(2 * time.Hour)
	commitResult(t, e, intKey(2), "second")
	wantResult(t, e, intKey(2), "second")
	e = reopen(t, e)
	wantResult(t, e, intKey(1), "")
	wantResult(t, e, intKey(2), "second")
	if err := e.Forget(ctx, intKey(2)); err != nil {
		t.Fatal(err)
	}
	commitResult(t, e, intKey(2), "")
	wantResult(t, e, intKey(2), "")

	clock.advance(100 * time.Hour) // which the next generation begins after, and no other
	mustAdmit(t, e, intKey(3))
	wantResult(t, e, intKey(3), "")
}

// TestResultsForgetInFlight: a Forget while a commit is under way does not take its result.
func TestResultsForgetInFlight(t *testing.T) {
	o := resultOptions(nil)
	var e *Engine
	o.phase = func(name string) func() {
		if name == "result" {
			if err := e.Forget(ctx, intKey(1)); err != nil {
				t.Error(err)
			}
		}
		return func() {}
	}
	e = mustOpen(t, t.TempDir(), o)
	commitResult(t, e, intKey(1), "kept")
	wantResult(t, e, intKey(1), "kept")
}

// TestResultsRetired: a directory goes with its generation.
func TestResultsRetired(t *testing.T) {
	clock := newFakeClock()
	e := mustOpen(t, t.TempDir(), resultOptions(clock))
	for i := range 12 {
		commitResult(t, e, intKey(i), "x")
		clock.advance(2 * time.Hour)
		mustContain(t, e, intKey(99), false)
	}
	// Five generations are held.
	eventually(t, "old results are removed", func() bool {
		ids, err := persist.ListResults(e.dir)
		return err == nil && len(ids) <= 5
	})
	for i := 8; i < 12; i++ {
		wantResult(t, e, intKey(i), "x")
	}
	e = reopen(t, e)
	clock.advance(100 * time.Hour)
	mustContain(t, e, intKey(1), false)
	eventually(t, "all results are removed", func() bool {
		ids, err := persist.ListResults(e.dir)
		return err == nil && len(ids) == 0
	})
}

// TestResultsOrphans: a kill between a result and its mark leaves a result that is never answered.
func TestResultsOrphans(t *testing.T) {
	show := func(t *testing.T) {
		o := resultOptions(nil)
		killed := false
		var e *Engine
		o.phase = func(name string) func() {
			if name == "result" && killed {
				panic("killed")
			}
			return func() {}
		}
		e = mustOpen(t, t.TempDir(), o)
		commitResult(t, e, intKey(0), "whole")
		killed = true
		c := mustClaim(t, e, intKey(1), dedup.Fresh)
		c.Result = []byte("orphan")
		func() {
			defer func() {
				if recover() == nil {
					t.Error("not killed")
				}
				e.gate.RUnlock() // what the dead call held
			}()
			_ = e.Commit(ctx, c)
		}()
		killed = false
		e.crash(t)
		o.phase = nil
		e = mustOpen(t, e.dir, o)
		mustAdmit(t, e, intKey(1))
		if c := mustClaim(t, e, intKey(1), dedup.Duplicate); c.Result != nil {
			t.Errorf("the orphan %q is answered", c.Result)
		}
		wantResult(t, e, intKey(0), "whole")
	}
	show(t)
}

// TestResultsLost damages each file of results: a claim gets the right result or is told that it is
// lost; and whether an opening or verify and repair come first, that stays so.
func TestResultsLost(t *testing.T) {
	clock := newFakeClock()
	e := mustOpen(t, t.TempDir(), resultOptions(clock))
	const n = 60
	for i := range n {
		commitResult(t, e, intKey(i), longResult(i))
	}
	killed := copyDir(t, e.dir)
	mustClose(t, e)
	ids, err := persist.ListResults(e.dir)
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	told := map[string]int{}
	for _, from := range []string{e.dir, killed} {
		entries, err := os.ReadDir(persist.ResultsPath(from, ids[0]))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			for _, how := range []string{"removed", "flipped"} {
				dir := copyDir(t, from)
				kind := entry.Name()[strings.LastIndexByte(entry.Name(), '.')+1:]
				damageFile(t, persist.ResultsPath(dir, ids[0])+"/"+entry.Name(), how)
				if checkLost(t, dir, e.opts, n) > 0 {
					told[kind]++
				}
			}
		}
	}
	for _, kind := range []string{"mem", "sst", "vlog", "MANIFEST"} {
		if told[kind] == 0 {
			t.Errorf("damage of %s was never told", kind)
		}
	}
	dir := copyDir(t, e.dir)
	if err := os.RemoveAll(persist.ResultsPath(dir, ids[0])); err != nil {
		t.Fatal(err)
	}
	if lost := checkLost(t, dir, e.opts, n); lost != n {
		t.Errorf("without the directory %d of %d are lost", lost, n)
	}
}

// longResult is long enough for Badger's value log.
func longResult(i int) string { return fmt.Sprintf("result %d, which is not kept in the tree", i) }

func damageFile(t *testing.T, name, how string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(data, "\x00"))
	switch how {
	case "removed":
		err = os.Remove(name)
	default:
		if used > 0 {
			var f *os.File
			if f, err = os.OpenFile(name, os.O_RDWR, 0); err == nil {
				_, err = f.WriteAt([]byte{data[used/2] ^ 4}, int64(used/2))
				err = errors.Join(err, f.Close())
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// checkLost opens a damaged directory and returns how many of the n results are told to be lost.
func checkLost(t *testing.T, dir string, o config, n int) (lost int) {
	t.Helper()
	for life := range 2 { // the second one's manifest must not have forgotten
		e, err := openWith(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		lost = 0
		for i := range n {
			c, err := e.Claim(ctx, intKey(i))
			switch {
			case c.Verdict != dedup.Duplicate:
				t.Fatalf("life %d: key %d: %v, %v", life, i, c.Verdict, err)
			case errors.Is(err, dedup.ErrResultLost) && c.Result == nil:
				lost++
			case err != nil || string(c.Result) != longResult(i):
				t.Fatalf("life %d: key %d has the result %q, %v", life, i, c.Result, err)
			}
		}
		// New ones are kept all the same.
		key := []byte(fmt.Sprint("new in life ", life))
		commitResult(t, e, key, "new")
		if c, err := e.Claim(ctx, key); string(c.Result) != "new" && !errors.Is(err, dedup.ErrResultLost) {
			t.Fatalf("life %d: the new result is %q, %v", life, c.Result, err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return lost
}

// TestResultsRepair: verify names damaged results, and after a repair it does not; the rest of what
// they held stays lost.
func TestResultsRepair(t *testing.T) {
	e := mustOpen(t, t.TempDir(), resultOptions(newFakeClock()))
	const n = 60
	for i := range n {
		commitResult(t, e, intKey(i), longResult(i))
	}
	mustClose(t, e)
	ids, err := persist.ListResults(e.dir)
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	check := func(dir string, damages int, gaps int) inspect.Verification {
		t.Helper()
		v, err := inspect.Verify(ctx, dir, nil)
		if err != nil || len(v.Damages) != damages || len(v.Gaps) != gaps {
			t.Fatalf("verify: %+v, %v", v, err)
		}
		return v
	}
	if v := check(e.dir, 0, 0); v.Results != n {
		t.Errorf("%d results, want %d", v.Results, n)
	}
	in, err := inspect.Inspect(ctx, e.dir)
	if err != nil || len(in.Results) != 1 || in.Results[0].Records != n || in.Results[0].Lost {
		t.Errorf("inspect: %+v, %v", in.Results, err)
	}
	for what, damage := range map[string]func(results string) error{
		"the directory":    os.RemoveAll,
		"Badger's list":    func(results string) error { return os.Remove(results + "/MANIFEST") },
		"a table":          func(results string) error { return os.Remove(results + "/000001.sst") },
		"the values' file": func(results string) error { return os.Truncate(results+"/000001.vlog", 1000) },
	} {
		dir := copyDir(t, e.dir)
		if err := damage(persist.ResultsPath(dir, ids[0])); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if v, err := inspect.Verify(ctx, dir, nil); err != nil || len(v.Damages) == 0 || v.Damages[0].Generation != 1 {
			t.Errorf("%s: verify: %+v, %v", what, v, err)
		}
		r, err := inspect.Repair(ctx, dir, inspect.RepairOptions{})
		if err != nil || !r.Done || len(r.Gaps) > 0 {
			t.Errorf("%s: repair: %+v, %v", what, r, err)
		}
		check(dir, 0, 0)
		if again, err := inspect.Repair(ctx, dir, inspect.RepairOptions{}); err != nil || len(again.Actions) > 0 {
			t.Errorf("%s: a second repair: %+v, %v", what, again, err)
		}
		if in, err := inspect.Inspect(ctx, dir); err != nil || len(in.Results) != 1 || !in.Results[0].Lost {
			t.Errorf("%s: inspect after the repair: %+v, %v", what, in.Results, err)
		}
		if lost := checkLost(t, dir, e.opts, n); lost != n {
			t.Errorf("%s: %d of %d are lost after the repair", what, lost, n)
		}
	}
}

// TestResultsMany: many callers share syncs, and everybody gets the result of who won.
func TestResultsMany(t *testing.T) {
	e := mustOpen(t, t.TempDir(), resultOptions(nil))
	var callers sync.WaitGroup
	const goroutines, keys = 32, 40
	for g := range goroutines {
		callers.Go(func() {
			for i := range keys {
				key := intKey(i)
				c, err := e.Claim(ctx, key)
				if err != nil {
					t.Error(err)
					return
				}
				switch c.Verdict {
				case dedup.Fresh:
					c.Result = fmt.Appendf(nil, "%d", i)
					if err := e.Commit(ctx, c); err != nil {
						t.Errorf("goroutine %d: %v", g, err)
					}
				case dedup.Duplicate:
					if string(c.Result) != fmt.Sprint(i) {
						t.Errorf("key %d has the result %q", i, c.Result)
					}
				}
			}
		})
	}
	callers.Wait()
	for i := range keys {
		wantResult(t, e, intKey(i), fmt.Sprint(i))
	}
}

// TestResultsSettledByDurableMarks: a manifest that is written while a commit's marks are still
// in the journal's buffer does not take its results for settled. After a kill the key is
// handled again, and what it was marked with then is what it is answered with.
func TestResultsSettledByDurableMarks(t *testing.T) {
	disk := newHookFS("journal")
	o := resultOptions(newFakeClock())
	o.fs, o.Sync, o.Shards = disk, SyncAlways, 1
	dir := t.TempDir()
	e := mustOpen(t, dir, o)
	commitResult(t, e, []byte("first"), "makes the directory")
	writing, let := make(chan struct{}, 64), make(chan struct{})
	letOnce := sync.OnceFunc(func() { close(let) })
	defer letOnce()
	disk.set(func(op string) error {
		writing <- struct{}{}
		<-let
		return nil
	})
	var commits sync.WaitGroup
	commit := func(key string) {
		c := mustClaim(t, e, []byte(key), dedup.Fresh)
		c.Result = []byte("of the run that was killed")
		commits.Go(func() {
			if err := e.Commit(ctx, c); err != nil {
				t.Error(err)
			}
		})
	}
	commit("key")
	receive(t, "the commit's marks are about to be written", writing)
	commit("other") // its results are synced, and all that was settled by then is known to be durable
	eventually(t, "both keys are marked in memory", func() bool { return e.Stats().Results.Kept == 3 && e.Stats().Claims.Held == 0 })
	if err := e.store.update(func(m *persist.Manifest) { m.Results = e.results.metas(0) }); err != nil {
		t.Fatal(err)
	}
	killed := copyDir(t, dir)
	letOnce()
	commits.Wait()
	disk.set(nil)
	mustClose(t, e)

	o.fs = nil
	e = mustOpen(t, killed, o)
	if err := e.Commit(ctx, mustClaim(t, e, []byte("key"), dedup.Fresh)); err != nil {
		t.Fatal(err)
	}
	wantResult(t, e, []byte("key"), "")
	mustClose(t, e)
}
