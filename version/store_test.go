package version

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

func open(t testing.TB, dir string, opts Options) *Store {
	t.Helper()
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestObserve(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	f := func(entity string, version uint64, want Verdict, current uint64) {
		t.Helper()
		if a, err := s.Observe(t.Context(), []byte(entity), version); err != nil || a != (Answer{want, current}) {
			t.Errorf("%s at %d: %+v, %v, want %v, %d", entity, version, a, err, want, current)
		}
	}
	f("a", 3, Apply, 3)
	f("a", 3, Stale, 3)
	f("a", 2, Stale, 3)
	f("b", 1, Apply, 1)
	f("a", 10, Apply, 10)
	f("a", 4, Stale, 10)
	f("b", 1<<64-1, Apply, 1<<64-1)
	long := strings.Repeat("x", dedup.MaxKeyLen)
	f(long, 2, Apply, 2)
	f(long, 2, Stale, 2)
	f(long[1:], 2, Apply, 2)
	f(strings.Repeat("x", 255), 2, Apply, 2)
	f(strings.Repeat("x", 256), 2, Apply, 2)
	for entity, want := range map[string]uint64{"a": 10, "nobody": 0, long: 2} {
		if v, err := s.Current(t.Context(), []byte(entity)); err != nil || v != want {
			t.Errorf("Current(%.10s) is %d, %v, want %d", entity, v, err, want)
		}
	}
}

func TestStrict(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	f := func(version uint64, want Verdict, current uint64) {
		t.Helper()
		if a, err := s.Observe(t.Context(), []byte("a"), version); err != nil || a != (Answer{want, current}) {
			t.Errorf("at %d: %+v, %v, want %v, %d", version, a, err, want, current)
		}
	}
	f(2, Gap, 0)
	f(1, Apply, 1)
	f(3, Gap, 1)
	f(2, Apply, 2)
	f(3, Apply, 3)
	f(2, Stale, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	f(9, Apply, 9)
}

func TestBatch(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	old := []Answer{{Gap, 7}}
	as, err := s.ObserveBatch(t.Context(), old, []Update{
		{[]byte("a"), 2}, {[]byte("a"), 1}, {nil, 1}, {[]byte("a"), 3}, {[]byte("b"), 0}, {[]byte("b"), 1},
	})
	want := []Answer{{Gap, 7}, {Apply, 2}, {Stale, 2}, {}, {Apply, 3}, {}, {Apply, 1}}
	if !slices.Equal(as, want) {
		t.Errorf("%+v\nwant %+v", as, want)
	}
	var key *dedup.KeyError
	if !errors.Is(err, ErrVersion) || !errors.As(err, &key) || key.Index != 2 || !strings.Contains(err.Error(), "update 4") {
		t.Error(err)
	}
	if as, err := s.ObserveBatch(t.Context(), nil, nil); len(as) != 0 || err != nil {
		t.Errorf("%v, %v", as, err)
	}
}

// TestLargeBatch: several transactions of the largest entities, and the
// positions in errors.
func TestLargeBatch(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	updates := make([]Update, 2*maxGroup+10)
	for i := range updates {
		updates[i] = Update{fmt.Appendf(nil, "%0255d", i), 5}
	}
	updates[maxGroup+3].Entity = nil
	as, err := s.ObserveBatch(t.Context(), nil, updates)
	if bad := dedup.IndexesOf(err, dedup.ErrKeyInvalid); !slices.Equal(bad, []int{maxGroup + 3}) {
		t.Errorf("bad: %v, %v", bad, err)
	}
	for i, a := range as {
		if want := i != maxGroup+3; (a.Verdict == Apply) != want {
			t.Fatalf("update %d: %+v", i, a)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	as, err = s.ObserveBatch(t.Context(), as[:0], updates[:maxGroup])
	if err != nil || slices.ContainsFunc(as, func(a Answer) bool { return a != Answer{Stale, 5} }) {
		t.Errorf("after opening again: %v", err)
	}
}

// TestModel compares with a map, over restarts.
func TestModel(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	dir, model := t.TempDir(), map[string]uint64{}
	for range 6 {
		strict := rng.IntN(2) == 0
		s, err := Open(dir, Options{Strict: strict})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for range 40 {
			var updates []Update
			var want []Answer
			for range rng.IntN(20) {
				entity := fmt.Sprintf("%0*d", 1+250*rng.IntN(2), rng.IntN(50))
				v := model[entity] + 3 - min(rng.Uint64N(6), model[entity]+2)
				a := Answer{Apply, v}
				switch current := model[entity]; {
				case v <= current:
					a = Answer{Stale, current}
				case strict && v != current+1:
					a = Answer{Gap, current}
				default:
					model[entity] = v
				}
				updates, want = append(updates, Update{[]byte(entity), v}), append(want, a)
			}
			if as, err := s.ObserveBatch(t.Context(), nil, updates); err != nil || !slices.Equal(as, want) {
				t.Fatalf("seed %d: %+v, %v\nwant %+v", seed, as, err, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOneApplies: of many callers with one version one wins, and an entity's
// applied versions grow.
func TestOneApplies(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	const entities, versions, callers = 4, 30, 16
	var applied [entities][versions + 1]atomic.Int32
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for v := uint64(1); v <= versions; v++ {
				for e := range entities {
					a, err := s.Observe(t.Context(), []byte{byte(e)}, v)
					switch {
					case err != nil:
						t.Error(err)
						return
					case a.Verdict == Apply:
						applied[e][v].Add(1)
					case a.Current < v:
						t.Errorf("%d is stale after %d", v, a.Current)
					}
				}
			}
		})
	}
	wg.Wait()
	for e := range applied {
		for v := range applied[e] {
			if n := applied[e][v].Load(); n > 1 {
				t.Errorf("version %d of %d was applied %d times", v, e, n)
			}
		}
		if applied[e][versions].Load() != 1 {
			t.Errorf("the last version of %d was not applied", e)
		}
	}
}

func TestClosed(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, dedup.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for v := uint64(1); ; v++ {
				if _, err := s.Observe(t.Context(), []byte{byte(i)}, v); err != nil {
					if !errors.Is(err, dedup.ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := s.Current(t.Context(), []byte("a")); !errors.Is(err, dedup.ErrClosed) {
		t.Error(err)
	}
}

// TestFailed: after a failed write nothing is answered until the next opening.
func TestFailed(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Observe(t.Context(), []byte("a"), 1); err != nil {
		t.Fatal(err)
	}
	if err := s.db.promise.file.Close(); err != nil { // its next write fails
		t.Fatal(err)
	}
	for range 2 {
		if a, err := s.Observe(t.Context(), []byte("a"), 2); !errors.Is(err, dedup.ErrFailed) || a != (Answer{}) {
			t.Errorf("%+v, %v", a, err)
		}
	}
	if a, err := s.Observe(t.Context(), []byte("a"), 1); !errors.Is(err, dedup.ErrFailed) || a != (Answer{}) {
		t.Errorf("a look-up: %+v, %v", a, err)
	}
	_ = s.Close() // says that the file is closed already
	s = open(t, dir, Options{})
	if v, err := s.Current(t.Context(), []byte("a")); err != nil || v != 1 && v != 2 {
		t.Errorf("%d, %v", v, err)
	}
}

func TestContext(t *testing.T) {
	s := &Store{asked: make(chan *question), closed: make(chan struct{}), done: make(chan struct{})} // nobody answers
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Observe(ctx, []byte("a"), 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func BenchmarkObserve(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	b.Run("batch=1000", func(b *testing.B) {
		updates, answers := make([]Update, 1000), make([]Answer, 0, 1000)
		n := uint64(0)
		for b.Loop() {
			n++
			for i := range updates {
				updates[i] = Update{fmt.Appendf(nil, "entity %d", i), n}
			}
			var err error
			if answers, err = s.ObserveBatch(b.Context(), answers[:0], updates); err != nil || answers[0].Verdict != Apply {
				b.Fatal(answers[0], err)
			}
		}
		b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "updates/s")
	})
	b.Run("batch=1/goroutines=64", func(b *testing.B) {
		var n atomic.Uint64
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			entity := fmt.Appendf(nil, "goroutine %d", n.Add(1))
			v, err := s.Current(b.Context(), entity)
			for pb.Next() && err == nil {
				v++
				var a Answer
				if a, err = s.Observe(b.Context(), entity, v); a.Verdict != Apply {
					b.Error(a, err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
	})
}
