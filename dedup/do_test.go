package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/memguard"
)

type doFunc = func(context.Context) ([]byte, error)

var errFn = errors.New("fn failed")

// answer returns an fn with this answer, which counts its runs in n.
func answer(n *int, result string, err error) doFunc {
	return func(context.Context) ([]byte, error) {
		*n++
		return []byte(result), err
	}
}

func TestDoOnce(t *testing.T) {
	g, key, n := &memguard.Guard{}, []byte("k"), 0
	a, err := dedup.Do(t.Context(), g, key, answer(&n, "r", nil), dedup.DoOptions{})
	if err != nil || string(a.Result) != "r" || a.Replayed || n != 1 {
		t.Errorf("first: %+v, %v, %d runs", a, err, n)
	}
	a, err = dedup.Do(t.Context(), g, key, answer(&n, "other", nil), dedup.DoOptions{})
	if err != nil || string(a.Result) != "r" || !a.Replayed || n != 1 {
		t.Errorf("second: %+v, %v, %d runs", a, err, n)
	}
}

// TestDoKeepsNothing: a key without an answer costs a mark and no more.
func TestDoKeepsNothing(t *testing.T) {
	g, n := &memguard.Guard{MaxResult: -1}, 0
	for i := range 2 {
		a, err := dedup.Do(t.Context(), g, []byte("k"), answer(&n, "", nil), dedup.DoOptions{})
		if err != nil || a.Replayed != (i == 1) || len(a.Result) != 0 || n != 1 {
			t.Errorf("%+v, %v, %d runs", a, err, n)
		}
	}
	if b, marked := g.Result([]byte("k")); !marked || b != nil {
		t.Errorf("kept: %x, marked: %v", b, marked)
	}
}

func TestDoFails(t *testing.T) {
	g, key, n := &memguard.Guard{}, []byte("k"), 0
	a, err := dedup.Do(t.Context(), g, key, answer(&n, "half", errFn), dedup.DoOptions{})
	if !errors.Is(err, errFn) || a.Result != nil || a.Replayed {
		t.Errorf("%+v, %v", a, err)
	}
	a, err = dedup.Do(t.Context(), g, key, answer(&n, "r", nil), dedup.DoOptions{NoWait: true})
	if err != nil || string(a.Result) != "r" || a.Replayed || n != 2 {
		t.Errorf("after a failure: %+v, %v, %d runs", a, err, n)
	}
}

// TestDoDoesNotReturn: a panic goes on and Goexit ends its goroutine; both
// release the key.
func TestDoDoesNotReturn(t *testing.T) {
	f := func(fn doFunc, opts dedup.DoOptions, want any) {
		t.Helper()
		g, key, got := &memguard.Guard{}, []byte("k"), make(chan any)
		go func() {
			defer func() { got <- recover() }()
			_, _ = dedup.Do(t.Context(), g, key, fn, opts)
			t.Error("Do returns")
		}()
		if v := <-got; v != want {
			t.Errorf("recovered %v, want %v", v, want)
		}
		n := 0
		if a, err := dedup.Do(t.Context(), g, key, answer(&n, "r", nil), dedup.DoOptions{NoWait: true}); err != nil || a.Replayed {
			t.Errorf("afterwards: %+v, %v", a, err)
		}
	}
	f(func(context.Context) ([]byte, error) { panic("p") }, dedup.DoOptions{}, "p")
	f(func(context.Context) ([]byte, error) { runtime.Goexit(); return nil, nil }, dedup.DoOptions{}, nil)
	f(func(context.Context) ([]byte, error) { return nil, errFn }, dedup.DoOptions{Final: func(error) bool { panic("f") }}, "f")
}

func TestDoFinal(t *testing.T) {
	g, key, n := &memguard.Guard{}, []byte("k"), 0
	opts := dedup.DoOptions{Final: func(err error) bool { return errors.Is(err, errFn) }}
	for i := range 2 {
		a, err := dedup.Do(t.Context(), g, key, answer(&n, "half", errFn), opts)
		var final *dedup.FinalError
		if !errors.As(err, &final) || final.Text != "fn failed" || err.Error() != "fn failed" || errors.Is(err, errFn) != (i == 0) {
			t.Errorf("call %d: %v", i, err)
		}
		if a.Replayed != (i == 1) || a.Result != nil || n != 1 {
			t.Errorf("call %d: %+v, %d runs", i, a, n)
		}
	}
	// Another error is not final.
	other := func(context.Context) ([]byte, error) { n++; return nil, context.DeadlineExceeded }
	for range 2 {
		var final *dedup.FinalError
		if _, err := dedup.Do(t.Context(), g, []byte("l"), other, opts); errors.As(err, &final) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	if n != 3 {
		t.Errorf("%d runs", n)
	}
}

func TestDoFingerprint(t *testing.T) {
	g, n := &memguard.Guard{}, 0
	f := func(key, payload string, fn doFunc, want error, replayed bool) {
		t.Helper()
		opts := dedup.DoOptions{Final: func(error) bool { return true }}
		if payload != "" {
			opts.Fingerprint = []byte(payload)
		}
		if a, err := dedup.Do(t.Context(), g, []byte(key), fn, opts); !errors.Is(err, want) || a.Replayed != replayed {
			t.Errorf("%s with %q: %+v, %v", key, payload, a, err)
		}
	}
	f("k", "one", answer(&n, "", nil), nil, false)
	f("k", "one", answer(&n, "", nil), nil, true)
	f("k", "two", answer(&n, "", nil), dedup.ErrMismatch, true)
	f("k", "", answer(&n, "", nil), nil, true)
	f("final", "one", answer(&n, "", errFn), errFn, false)
	f("final", "two", answer(&n, "", nil), dedup.ErrMismatch, true)
	f("plain", "", answer(&n, "r", nil), nil, false)
	f("plain", "one", answer(&n, "", nil), nil, true)
	if n != 3 {
		t.Errorf("%d runs", n)
	}
}

func TestDoNoWait(t *testing.T) {
	g := &memguard.Guard{}
	claimAll(t, g, "k")
	n := 0
	if _, err := dedup.Do(t.Context(), g, []byte("k"), answer(&n, "", nil), dedup.DoOptions{NoWait: true}); !errors.Is(err, dedup.ErrInFlight) || n != 0 {
		t.Errorf("%v, %d runs", err, n)
	}
}

// TestDoWaits: a twin has the first one's answer soon after it is there, and
// asks neither all the time nor only when the lease ends.
func TestDoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &memguard.Guard{Lease: time.Hour}
		start := time.Now()
		go func() {
			_, err := dedup.Do(t.Context(), g, []byte("k"), func(context.Context) ([]byte, error) {
				<-time.After(10 * time.Second)
				return []byte("r"), nil
			}, dedup.DoOptions{})
			if err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		n := 0
		a, err := dedup.Do(t.Context(), g, []byte("k"), answer(&n, "mine", nil), dedup.DoOptions{})
		if err != nil || string(a.Result) != "r" || !a.Replayed || n != 0 {
			t.Errorf("%+v, %v, %d runs", a, err, n)
		}
		if late := time.Since(start) - 10*time.Second; late > 100*time.Millisecond {
			t.Errorf("%v late", late)
		}
		if asked := g.Calls("Claim"); asked < 100 || asked > 220 {
			t.Errorf("asked %d times in 10 s", asked)
		}
	})
}

// TestDoWaiterTakesOver: when the first one fails, a waiting twin runs its own.
func TestDoWaiterTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, n := &memguard.Guard{}, 0
		go func() {
			_, err := dedup.Do(t.Context(), g, []byte("k"), func(context.Context) ([]byte, error) {
				<-time.After(time.Second)
				return nil, errFn
			}, dedup.DoOptions{})
			if !errors.Is(err, errFn) {
				t.Error(err)
			}
		}()
		synctest.Wait()
		a, err := dedup.Do(t.Context(), g, []byte("k"), answer(&n, "mine", nil), dedup.DoOptions{})
		if err != nil || string(a.Result) != "mine" || a.Replayed || n != 1 {
			t.Errorf("%+v, %v, %d runs", a, err, n)
		}
	})
}

func TestDoWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, n, gone := &memguard.Guard{Lease: time.Hour}, 0, errors.New("client gone")
		claimAll(t, g, "k")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, gone)
		defer cancel()
		_, err := dedup.Do(ctx, g, []byte("k"), answer(&n, "", nil), dedup.DoOptions{})
		if !errors.Is(err, dedup.ErrInFlight) || !errors.Is(err, gone) || n != 0 {
			t.Errorf("%v, %d runs", err, n)
		}
	})
}

func TestDoExtends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &memguard.Guard{Lease: 30 * time.Second}
		slow := func(ctx context.Context) ([]byte, error) {
			<-time.After(time.Hour)
			return []byte("r"), ctx.Err()
		}
		if _, err := dedup.Do(t.Context(), g, []byte("k"), slow, dedup.DoOptions{}); err != nil {
			t.Error(err)
		}
		own := g.Calls("Extend")
		if _, err := dedup.Do(t.Context(), g, []byte("l"), slow, dedup.DoOptions{Lease: 10 * time.Minute}); err != nil {
			t.Error(err)
		}
		if longer := g.Calls("Extend") - own; own < 300 || longer > 30 {
			t.Errorf("%d renewals with the guard's lease, %d with a longer one", own, longer)
		}
	})
}

func TestDoLeaseLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &memguard.Guard{}
		f := func(result string, fails bool) {
			t.Helper()
			a, err := dedup.Do(t.Context(), g, []byte("k"), func(ctx context.Context) ([]byte, error) {
				g.Steal([]byte("k"))
				<-ctx.Done()
				if !errors.Is(context.Cause(ctx), dedup.ErrLeaseLost) {
					t.Error(context.Cause(ctx))
				}
				if fails {
					return nil, context.Cause(ctx)
				}
				return []byte("r"), nil
			}, dedup.DoOptions{})
			if !errors.Is(err, dedup.ErrLeaseLost) || string(a.Result) != result || a.Replayed {
				t.Errorf("%+v, %v", a, err)
			}
		}
		f("", true)
		f("r", false) // its effect has happened, and its answer was not kept
		if _, marked := g.Result([]byte("k")); marked {
			t.Error("the key is marked")
		}
	})
}

// TestDoCallerGone: what fn has done is committed, or released, although the
// caller has gone.
func TestDoCallerGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &memguard.Guard{Before: func(ctx context.Context, call string) error {
			if _, limited := ctx.Deadline(); !limited && (call == "Commit" || call == "Release") {
				t.Errorf("%s has no time limit", call)
			}
			return ctx.Err()
		}}
		f := func(fnErr error) {
			ctx, cancel := context.WithCancel(t.Context())
			a, err := dedup.Do(ctx, g, []byte("k"), func(ctx context.Context) ([]byte, error) {
				cancel()
				<-ctx.Done()
				return []byte("r"), fnErr
			}, dedup.DoOptions{})
			if !errors.Is(err, fnErr) || a.Replayed {
				t.Errorf("%+v, %v", a, err)
			}
		}
		f(errFn)
		f(nil)
		if _, marked := g.Result([]byte("k")); !marked {
			t.Error("the key is not marked")
		}
		if g.Calls("Release") != 1 {
			t.Errorf("%d releases", g.Calls("Release"))
		}
	})
}

// TestDoEndHangs: a store that hangs in Commit is given up after EndTimeout.
func TestDoEndHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &memguard.Guard{Before: func(ctx context.Context, call string) error {
			if call == "Commit" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		f := func(key string, limit, want time.Duration) {
			start, n := time.Now(), 0
			a, err := dedup.Do(t.Context(), g, []byte(key), answer(&n, "r", nil), dedup.DoOptions{EndTimeout: limit})
			if !errors.Is(err, context.DeadlineExceeded) || string(a.Result) != "r" || time.Since(start) != want {
				t.Errorf("%+v, %v after %v, want %v", a, err, time.Since(start), want)
			}
		}
		f("k", 0, 10*time.Second)
		f("l", time.Second, time.Second)
	})
}

func TestDoTooLarge(t *testing.T) {
	g, n := &memguard.Guard{MaxResult: 4}, 0
	for i := range 2 {
		a, err := dedup.Do(t.Context(), g, []byte("k"), answer(&n, "four", nil), dedup.DoOptions{})
		if !errors.Is(err, dedup.ErrResultTooLarge) || n != 1 || a.Replayed != (i == 1) || (a.Result == nil) != (i == 1) {
			t.Errorf("%+v, %v, %d runs", a, err, n)
		}
	}
}

// fixed answers every Claim the same.
type fixed struct {
	dedup.Guard
	claim dedup.Claim
	err   error
}

func (f fixed) Claim(context.Context, []byte) (dedup.Claim, error) { return f.claim, f.err }

func TestDoGuardAnswers(t *testing.T) {
	n := 0
	f := func(v dedup.Verdict, result string, claimErr, want error, replayed bool) {
		t.Helper()
		g := fixed{claim: dedup.Claim{Verdict: v, Result: []byte(result)}, err: claimErr}
		if a, err := dedup.Do(t.Context(), g, []byte("k"), answer(&n, "", nil), dedup.DoOptions{}); !errors.Is(err, want) || a.Replayed != replayed || a.Result != nil {
			t.Errorf("%v, %v: %+v, %v", v, claimErr, a, err)
		}
	}
	f(dedup.Unknown, "", nil, dedup.ErrUnknown, false)
	f(dedup.Unknown, "", dedup.ErrClosed, dedup.ErrClosed, false)
	f(dedup.Duplicate, "", &dedup.ResultError{Err: dedup.ErrResultLost}, dedup.ErrResultLost, true)
	if _, err := dedup.Do(t.Context(), fixed{claim: dedup.Claim{Verdict: dedup.Duplicate, Result: []byte("{}")}}, nil, answer(&n, "", nil), dedup.DoOptions{}); err == nil {
		t.Error("a result of somebody else is taken for an answer")
	}
	if n != 0 {
		t.Errorf("%d runs", n)
	}
}

// together has 1,000 goroutines do 100 keys at once, each of them some, and checks
// that each key runs once and that everybody gets the same bytes.
func together(t *testing.T, g dedup.Guard, each int) {
	const goroutines, keys = 1000, 100
	var runs [keys]atomic.Int32
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range goroutines {
		wg.Go(func() {
			<-start
			for j := range each {
				key := (i + j) % keys
				a, err := dedup.Do(t.Context(), g, fmt.Appendf(nil, "key %d", key), func(context.Context) ([]byte, error) {
					return fmt.Appendf(nil, "answer %d of run %d", key, runs[key].Add(1)), nil
				}, dedup.DoOptions{})
				if want := fmt.Sprintf("answer %d of run 1", key); err != nil || string(a.Result) != want {
					t.Errorf("%q, %v, want %q", a.Result, err, want)
				}
			}
		})
	}
	close(start)
	wg.Wait()
	for i := range runs {
		if n := runs[i].Load(); n != 1 {
			t.Errorf("key %d was run %d times", i, n)
		}
	}
}

func TestDoTogether(t *testing.T) { together(t, &memguard.Guard{}, 100) }

// TestDoTogetherEngine: the same with answers that the engine keeps.
func TestDoTogetherEngine(t *testing.T) {
	e, err := engine.Open(t.TempDir(), engine.Options{Window: time.Hour, Sync: engine.SyncNone, MaxResult: 256})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	together(t, e, 20)
}
