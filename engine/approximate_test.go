package engine

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
)

// TestApproximate: over rotations, a clean restart and a crash no duplicate is
// called Fresh, and wrong Duplicates are as rare as Stats says.
func TestApproximate(t *testing.T) {
	for _, kind := range []bloom.Kind{bloom.Sliced, bloom.Compact} {
		for _, bits := range []float64{12, 20} {
			t.Run(fmt.Sprintf("%v/bits=%v", kind, bits), func(t *testing.T) {
				const perStep, steps = 2500, 12
				clock, dir := newFakeClock(), t.TempDir()
				o := testOptions(clock)
				o.Mode, o.Filter, o.BitsPerKey = Approximate, kind, bits
				o.Capacity = perStep * 8 // a step is an eighth of the window
				e := mustOpen(t, dir, o)
				wrong, predicted := 0, 0.0
				var marked [][]byte // a wrong Duplicate marks nothing
				var starts []int
				for step := range steps {
					starts = append(starts, len(marked))
					keys := intKeys(step*perStep, perStep)
					for i, v := range mustAdmit(t, e, keys...) {
						switch v {
						case dedup.Duplicate:
							wrong++
						case dedup.Fresh:
							marked = append(marked, keys[i])
						default:
							t.Fatalf("%v", v)
						}
					}
					predicted = max(predicted, e.Stats().Filter.PredictedRate)
					switch step % 4 {
					case 1:
						mustClose(t, e)
						e = mustOpen(t, dir, o)
					case 2:
						e.crash(t)
						e = mustOpen(t, dir, o)
					}
					admitAll(t, e, marked[starts[max(0, step-7)]:], dedup.Duplicate) // surely within the window
					clock.advance(o.Window / 8)
				}
				most := predicted*perStep*steps + 5*math.Sqrt(predicted*perStep*steps) + 5
				t.Logf("%d of %d fresh keys were called Duplicate, predicted are at most %.1f", wrong, perStep*steps, predicted*perStep*steps)
				if float64(wrong) > most {
					t.Errorf("that is more than %.0f", most)
				}
				if bound := bloom.PredictRate(kind, bits, e.set.Hashes(), o.Generations); predicted > 1.5*bound {
					t.Errorf("Stats predicts %.4f, the filter was sized for %.4f", predicted, bound)
				}
			})
		}
	}
}

// TestApproximateTwins: keys that come twice in a batch, claims and commits work
// as in Exact mode; what needs a store is refused.
func TestApproximateTwins(t *testing.T) {
	o := testOptions(nil)
	o.Mode = Approximate
	dir := t.TempDir()
	e := mustOpen(t, dir, o)
	if got := mustAdmit(t, e, []byte("a"), []byte("b"), []byte("a")); fmt.Sprint(got) != "[fresh fresh duplicate]" {
		t.Errorf("%v", got)
	}
	c := mustClaim(t, e, []byte("c"), dedup.Fresh)
	d := mustClaim(t, e, []byte("d"), dedup.Fresh)
	mustClaim(t, e, []byte("c"), dedup.InFlight)
	if err := errors.Join(e.Commit(ctx, c), e.Release(ctx, d)); err != nil {
		t.Fatal(err)
	}
	if err := e.Commit(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Errorf("a second commit: %v", err)
	}
	if err := e.Forget(ctx, []byte("a")); !errors.Is(err, dedup.ErrUnsupported) {
		t.Errorf("forget: %v", err)
	}
	e.crash(t)
	e = mustOpen(t, dir, o)
	for key, want := range map[string]bool{"a": true, "b": true, "c": true, "d": false, "never": false} {
		mustContain(t, e, []byte(key), want)
	}
}

// TestApproximateJournal: without a store the journal's room is given back by
// snapshots; a stream of many rings loses nothing, over a crash either.
func TestApproximateJournal(t *testing.T) {
	o, dir := testOptions(nil), t.TempDir()
	o.Mode, o.Sync, o.ringBytes, o.Capacity, o.BitsPerKey = Approximate, SyncNone, 256<<10, 200_000, 40
	e := mustOpen(t, dir, o)
	const keys = 150_000 // 8 bytes each and headers: more than four rings
	for from := 0; from < keys; from += 1000 {
		mustAdmit(t, e, intKeys(from, 1000)...)
	}
	if w := e.Stats().Journal.Written; w < 4*uint64(o.ringBytes) {
		t.Errorf("%d bytes were journaled: the test shows nothing", w)
	}
	e.crash(t)
	e = mustOpen(t, dir, o)
	admitAll(t, e, intKeys(0, keys), dedup.Duplicate)
}

// TestApproximateLostState: the filters are the state here, so a damaged or
// missing one is damage, not a reason to begin anew.
func TestApproximateLostState(t *testing.T) {
	clock := newFakeClock()
	o, dir := testOptions(clock), t.TempDir()
	o.Mode = Approximate
	e := mustOpen(t, dir, o)
	mustAdmit(t, e, intKeys(0, 1000)...)
	clock.advance(e.opts.span())
	mustAdmit(t, e, intKeys(1000, 1000)...)
	mustClose(t, e)
	for _, remove := range []bool{true, false} {
		for _, name := range snapshotFiles(t, dir) {
			broken := copyDir(t, dir)
			breakFile(t, broken, name, remove)
			wantCorrupt(t, broken, o)
			report := o
			report.OnGap = Report
			e := mustOpen(t, broken, report)
			for i, v := range mustAdmit(t, e, intKeys(0, 2000)...) {
				if v == dedup.Fresh {
					t.Fatalf("%s (removed: %v): key %d was marked and is called Fresh", name, remove, i)
				}
			}
			if gaps := e.Stats().Recovery.Gaps; len(gaps) == 0 {
				t.Errorf("%s: no gap is told", name)
			}
			mustClose(t, e)
		}
	}
}

// TestApproximateSnapshotOfLive: the snapshot of a generation that was live when
// it was written lacks its end; it must not pass for the sealed one's.
func TestApproximateSnapshotOfLive(t *testing.T) {
	clock, dir := newFakeClock(), t.TempDir()
	o := testOptions(clock)
	o.Mode = Approximate
	hook := newHookFS(".snap.tmp")
	o.fs = hook
	e := mustOpen(t, dir, o)
	mustAdmit(t, e, intKeys(0, 500)...)
	if err := e.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	mustAdmit(t, e, intKeys(500, 500)...)
	hook.set(func(string) error { return errors.New("killed here") })
	clock.advance(e.opts.span() + time.Minute)
	mustAdmit(t, e, intKey(5000)) // begins a generation
	eventually(t, "the sealed generation's snapshot failed", func() bool { return e.failure.Load() != nil })
	_ = e.Close()
	o.fs = nil
	for range 2 { // what the first opening writes must not hide it from the second
		e = mustOpen(t, dir, o)
		for _, k := range intKeys(0, 1000) {
			mustContain(t, e, k, true)
		}
		mustClose(t, e)
	}
}

// TestApproximateFixed: another capacity is a hint that comes too late; options that the
// filters depend on are refused by name, whatever OnGap says, and nothing is lost by it.
func TestApproximateFixed(t *testing.T) {
	clock, dir := newFakeClock(), t.TempDir()
	o := testOptions(clock)
	o.Mode = Approximate
	e := mustOpen(t, dir, o)
	keys := intKeys(0, 500)
	mustAdmit(t, e, keys...)
	mustClose(t, e)
	for name, change := range map[string]func(o *config){
		"Filter":      func(o *config) { o.Filter = bloom.Compact },
		"BitsPerKey":  func(o *config) { o.BitsPerKey = 12 },
		"Generations": func(o *config) { o.Generations = 8 },
	} {
		for _, gap := range []OnGap{Refuse, Report} {
			other := o
			other.OnGap = gap
			change(&other)
			if _, err := openWith(dir, other); !errors.Is(err, dedup.ErrIncompatible) || errors.Is(err, dedup.ErrCorrupt) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s, %v: %v", name, gap, err)
			}
		}
	}
	for _, capacity := range []uint64{0, 10, 900_000} {
		o.Capacity = capacity
		e := mustOpen(t, dir, o)
		admitAll(t, e, keys, dedup.Duplicate)
		mustClose(t, e)
	}
}
