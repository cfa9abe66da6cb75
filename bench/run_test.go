package bench

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// setTarget is the simplest target there is, with hooks to break it.
type setTarget struct {
	mu     sync.Mutex
	keys   map[string]bool
	broken func(call int, vs []dedup.Verdict) error
	calls  int
}

func (t *setTarget) Admit(_ context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	start := len(vs)
	for _, key := range keys {
		v := dedup.Fresh
		if t.keys[string(key)] {
			v = dedup.Duplicate
		}
		t.keys[string(key)] = true
		vs = append(vs, v)
	}
	t.calls++
	if t.broken != nil {
		return vs, t.broken(t.calls, vs[start:])
	}
	return vs, nil
}

func (t *setTarget) Usage() Usage { return Usage{} }
func (t *setTarget) Close() error { return nil }

func setCandidate(broken func(call int, vs []dedup.Verdict) error) Candidate {
	return Candidate{
		Name: "set", About: "a map", Class: Memory,
		Open: func(context.Context, Setup) (Target, error) {
			return &setTarget{keys: make(map[string]bool), broken: broken}, nil
		},
	}
}

func mustRun(t *testing.T, c Config) Result {
	t.Helper()
	c.Dir = t.TempDir()
	r, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRunCounts(t *testing.T) {
	for _, c := range []Config{
		{Batch: 1000, Workload: Workload{Duplicates: 0.5}},
		{Batch: 1, Workload: Workload{Duplicates: 0.1}},
		{Batch: 333, Callers: 4, Workload: Workload{Duplicates: 0.5, Spread: Near, Kind: Variable}},
		{Batch: 100, Callers: 2, Workload: Workload{Spread: Zipf}},
	} {
		c.Candidate, c.Keys = setCandidate(nil), 50_001
		r := mustRun(t, c)
		if r.Messages != c.Keys || r.Fresh+r.Duplicates != c.Keys || r.Duplicates == 0 {
			t.Errorf("%+v: %d messages, %d fresh and %d duplicates", c.Workload, r.Messages, r.Fresh, r.Duplicates)
		}
		if !r.Exact() {
			t.Errorf("%+v: a map was found wrong: %+v", c.Workload, r)
		}
		if r.Latency.Calls < int64(c.Keys)/int64(c.Batch) || r.Latency.Max < r.Latency.P50 || r.KeysPerSecond <= 0 {
			t.Errorf("%+v: implausible latency %+v at %v keys/s", c.Workload, r.Latency, r.KeysPerSecond)
		}
	}
}

// TestRunCatchesBrokenTargets: each way to be wrong must show in its own count.
func TestRunCatchesBrokenTargets(t *testing.T) {
	flip := func(from, to dedup.Verdict) func(int, []dedup.Verdict) error {
		return func(call int, vs []dedup.Verdict) error {
			for i, v := range vs {
				if call%7 == 0 && v == from {
					vs[i] = to
					return nil
				}
			}
			return nil
		}
	}
	run := func(broken func(int, []dedup.Verdict) error) Result {
		return mustRun(t, Config{Candidate: setCandidate(broken), Keys: 20_000, Batch: 100, Workload: Workload{Duplicates: 0.5}})
	}
	if r := run(flip(dedup.Duplicate, dedup.Fresh)); r.Missed == 0 || r.Wrong != 0 || r.Exact() {
		t.Errorf("duplicates let through: missed %d, wrong %d", r.Missed, r.Wrong)
	}
	if r := run(flip(dedup.Fresh, dedup.Duplicate)); r.Wrong == 0 || r.Missed != 0 || r.Exact() {
		t.Errorf("fresh keys dropped: missed %d, wrong %d", r.Missed, r.Wrong)
	}
	if r := run(flip(dedup.Fresh, dedup.Unknown)); r.Unanswered == 0 || r.Missed+r.Wrong != 0 || r.Exact() {
		t.Errorf("keys without an answer: %d", r.Unanswered)
	}
	failure := errors.New("out of order")
	r := run(func(call int, _ []dedup.Verdict) error {
		if call == 50 {
			return failure
		}
		return nil
	})
	if r.Error != failure.Error() || r.Messages != 49*100-100 && r.Messages == 0 || !r.Truncated {
		t.Errorf("a failing call: %d messages, error %q", r.Messages, r.Error)
	}
}

// shortTarget loses verdicts.
type shortTarget struct{ setTarget }

func (t *shortTarget) Admit(ctx context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	vs, err := t.setTarget.Admit(ctx, vs, keys)
	return vs[:len(vs)-1], err
}

func TestRunWantsOneVerdictAKey(t *testing.T) {
	c := setCandidate(nil)
	c.Open = func(context.Context, Setup) (Target, error) {
		return &shortTarget{setTarget{keys: make(map[string]bool)}}, nil
	}
	if r := mustRun(t, Config{Candidate: c, Keys: 1000}); r.Error == "" {
		t.Error("a missing verdict was not noticed")
	}
}

func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c := Config{Dir: t.TempDir(), Keys: 1 << 40, Window: 1 << 40, Candidate: setCandidate(func(call int, _ []dedup.Verdict) error {
		if call == 20 {
			cancel()
		}
		return nil
	})}
	r, err := Run(ctx, c)
	if err != nil || r.Messages == 0 || !r.Truncated || r.Error != "" {
		t.Errorf("interrupted: %d messages, truncated %v, %q, %v", r.Messages, r.Truncated, r.Error, err)
	}
	c.Candidate, c.MaxTime = setCandidate(nil), time.Millisecond
	if r := mustRun(t, c); r.Messages == 0 || !r.Truncated || r.Error != "" {
		t.Errorf("out of time: %d messages, truncated %v, %q", r.Messages, r.Truncated, r.Error)
	}
}

func TestConfigNamesEveryProblem(t *testing.T) {
	_, err := Config{Batch: -1, Callers: -1, Workload: Workload{Duplicates: 2, Spread: "x"}, MaxTime: -1}.withDefaults()
	if err == nil {
		t.Fatal("a bad config was taken")
	}
	joined, ok := errors.Unwrap(err).(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 5 {
		t.Errorf("five problems, the error says: %v", err)
	}
	c := Config{Candidate: setCandidate(nil), Keys: 1_000_000, Window: 1_000, Workload: Workload{Spread: Expired}}
	if _, err := c.withDefaults(); err == nil {
		t.Error("a window too short for its calls was taken, of a candidate that never forgets")
	}
}

func TestWorstSecond(t *testing.T) {
	samples := make([]Sample, 25)
	for i := range samples {
		samples[i].Messages = 100
	}
	samples[12].Messages = 0
	if got := worstSecond(samples, 100*time.Millisecond); got != 900 {
		t.Errorf("got %v, want 900", got)
	}
	if got := worstSecond(samples[:9], 100*time.Millisecond); got != 0 {
		t.Errorf("less than a second of samples gave %v", got)
	}
}

// windowTarget forgets a key exactly a window after it was marked: the
// strictest target that keeps the promise.
type windowTarget struct {
	mu     sync.Mutex
	marked map[string]time.Time
	setup  Setup
}

func (t *windowTarget) Admit(_ context.Context, vs []dedup.Verdict, keys [][]byte) ([]dedup.Verdict, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.setup.Now()
	for _, key := range keys {
		if at, ok := t.marked[string(key)]; ok && now.Sub(at) < t.setup.Window {
			vs = append(vs, dedup.Duplicate)
			continue
		}
		t.marked[string(key)] = now
		vs = append(vs, dedup.Fresh)
	}
	return vs, nil
}

func (t *windowTarget) Usage() Usage { return Usage{} }
func (t *windowTarget) Close() error { return nil }

// TestRunHoldsGoroutinesTogether: with the window moving, a goroutine that is
// preempted between choosing a key and asking for it must not make a right
// target look wrong.
func TestRunHoldsGoroutinesTogether(t *testing.T) {
	c := Candidate{Name: "window", Class: Memory, Expires: true, Open: func(_ context.Context, s Setup) (Target, error) {
		return &windowTarget{marked: make(map[string]time.Time), setup: s}, nil
	}}
	for _, w := range []Workload{{Duplicates: 0.5}, {Duplicates: 0.2, Spread: Expired}} {
		r := mustRun(t, Config{Candidate: c, Workload: w, Keys: 500_000, Window: 210_000, Batch: 250, Callers: 8})
		if !r.Exact() {
			t.Errorf("%s: missed %d, wrong %d", w.Spread, r.Missed, r.Wrong)
		}
	}
}
