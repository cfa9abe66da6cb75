package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// pairs gives one batch of 100 keys for each step of time, from the oldest on.
func pairs(from time.Time, step time.Duration, n int) iter.Seq2[time.Time, [][]byte] {
	return func(yield func(time.Time, [][]byte) bool) {
		keys := make([][]byte, 100)
		for i := range n {
			for j := range keys {
				keys[j] = fmt.Appendf(keys[j][:0], "key %d", i*100+j)
			}
			if !yield(from.Add(time.Duration(i)*step), keys) {
				return
			}
		}
	}
}

// TestLoad: what was loaded is remembered by its own times. Of 14 hours of keys a
// directory with a window of seven knows the newest seven, and forgets each of
// them when it would have been forgotten where it was marked.
func TestLoad(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	o := Options{Window: 7 * time.Hour, Now: func() time.Time { return now }, MinFreeDisk: -1}
	start := now.Add(-14 * time.Hour)
	const n = 14 * 60
	if s, err := Load(ctx, dir, o, pairs(start, time.Minute, n)); err != nil || s.Batches != n || s.Keys != n*100 || s.Marked != s.Keys {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, hours := range []int{0, 3, 6} {
		now = start.Add(time.Duration(14+hours) * time.Hour)
		e, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		oldest := now.Add(-7 * time.Hour)
		for i := range n {
			at := start.Add(time.Duration(i) * time.Minute)
			seen, err := e.Contains(ctx, fmt.Appendf(nil, "key %d", i*100+7))
			switch {
			case err != nil:
				t.Fatal(err)
			case !seen && at.After(oldest):
				t.Errorf("at +%d h: a key of %v within the window is forgotten", hours, now.Sub(at))
			case seen && at.Before(oldest.Add(-2*time.Hour)): // a generation's span is 1 h, and one is live
				t.Errorf("at +%d h: a key of %v is remembered", hours, now.Sub(at))
			}
			if t.Failed() {
				break
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLoadAgain: a load that was cut short starts over, and one that comes twice
// marks nothing twice.
func TestLoadAgain(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	now := time.Now()
	o := Options{Window: time.Hour, MinFreeDisk: -1}
	all := pairs(now.Add(-30*time.Minute), time.Second, 1000)
	half := func(yield func(time.Time, [][]byte) bool) {
		n := 0
		for at, keys := range all {
			if n++; n > 500 || !yield(at, keys) {
				return
			}
		}
	}
	if s, err := Load(ctx, dir, o, half); err != nil || s.Marked != 50_000 {
		t.Fatalf("%+v, %v", s, err)
	}
	if s, err := Load(ctx, dir, o, all); err != nil || s.Keys != 100_000 || s.Marked != 50_000 {
		t.Fatalf("%+v, %v", s, err)
	}
	for n := range 8 { // the engine's time must not move on by the span of what comes again
		if s, err := Load(ctx, dir, o, all); err != nil || s.Marked != 0 {
			t.Fatalf("load %d: %+v, %v", n, s, err)
		}
	}
	e, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	if v, err := e.Admit(ctx, []byte("key 99999")); err != nil || v != dedup.Duplicate {
		t.Errorf("%v, %v", v, err)
	}
}

// TestLoadEdges: nothing to load, an ended context, times in the future.
func TestLoadEdges(t *testing.T) {
	o := Options{Window: time.Hour, MinFreeDisk: -1}
	if s, err := Load(context.Background(), t.TempDir(), o, pairs(time.Now(), 0, 0)); err != nil || s.Keys != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Load(ctx, t.TempDir(), o, pairs(time.Now(), 0, 2)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	dir := t.TempDir()
	if _, err := Load(context.Background(), dir, o, pairs(time.Now().Add(1000*time.Hour), time.Hour, 3)); err != nil {
		t.Fatal(err)
	}
	e, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	for i := range 300 {
		if seen, err := e.Contains(context.Background(), fmt.Appendf(nil, "key %d", i)); err != nil || !seen {
			t.Fatalf("key %d of the future: %v, %v", i, seen, err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	keys := make([][]byte, 1000)
	for i := range keys {
		keys[i] = make([]byte, 16)
	}
	from := time.Now().Add(-time.Hour)
	total := uint64(b.N) * uint64(len(keys))
	source := func(yield func(time.Time, [][]byte) bool) {
		for i := range b.N {
			for j, k := range keys {
				n := uint64(i*len(keys) + j)
				for s := range 8 {
					k[s], k[8+s] = byte(n>>(8*s)), byte(n*0x9e3779b97f4a7c15>>(8*s))
				}
			}
			if !yield(from.Add(time.Duration(i)*time.Millisecond), keys) {
				return
			}
		}
	}
	s, err := Load(context.Background(), b.TempDir(), Options{Window: 2 * time.Hour, Capacity: total}, source)
	if err != nil || s.Marked != total {
		b.Fatalf("%+v of %d, %v", s, total, err)
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "keys/s")
}
