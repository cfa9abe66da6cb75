package adaptertest_test

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/adaptertest"
)

func TestMain(m *testing.M) {
	// Tests of this package wait most of their time. The command line still wins.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	configs := []adaptertest.Config{configOf(sound)}
	for f := range faults {
		configs = append(configs, configOf(f))
	}
	adaptertest.Main(m, configs...)
}

func TestQueue(t *testing.T) { adaptertest.Run(t, configOf(sound)) }

func TestStorm(t *testing.T) {
	adaptertest.RunStorm(t, configOf(sound), adaptertest.Storm{Messages: 3000, Kills: 8})
}

// faults has for each fault the cases that must find it.
var faults = map[fault][]string{
	ackFirst:       {"CrashInHandler", "HandlerError"},
	retriesAcked:   {"HandlerError", "HandlerPanic", "StoreDown"},
	notAsked:       {"SentTwice", "SentAgainLater", "CrashAfterCommit"},
	markFirst:      {"CrashInHandler", "HandlerError"},
	failureKept:    {"HandlerError", "HandlerPanic", "FailingTwin"},
	leaseNotKept:   {"SlowHandler"},
	storeDownFresh: {"StoreDown"},
	stopAbandons:   {"ShutdownUnderLoad"},
	poisonRetried:  {"Poison"},
	badEndsBatch:   {"BadMessages"},
	tokenForgotten: {"SentAgainLater", "TwinsOnTwoConsumers"},
}

// TestEachFaultIsFound: the adapter is broken on purpose, and each case that is
// meant to see it does.
func TestEachFaultIsFound(t *testing.T) {
	for f, names := range faults {
		for _, name := range names {
			t.Run(string(f)+"/"+name, func(t *testing.T) {
				t.Parallel() // nearly all of it is waiting
				c := configOf(f)
				c.Patience = 2 * time.Second
				r := &recorder{TB: t}
				r.run(func() { adaptertest.Check(r, c, name) })
				r.wantFailure(t)
			})
		}
	}
}

func TestStormFindsFaults(t *testing.T) {
	for _, f := range []fault{ackFirst, notAsked, markFirst, tokenForgotten} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			c := configOf(f)
			c.Patience = 2 * time.Second
			r := &recorder{TB: t}
			r.run(func() { adaptertest.CheckStorm(r, c, adaptertest.Storm{Messages: 2000, Kills: 6, Twice: 0.5, Seed: 1}) })
			r.wantFailure(t)
		})
	}
}

// A recorder notes failures in place of its TB.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

// run calls f in a goroutine of its own, which FailNow ends.
func (r *recorder) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (r *recorder) wantFailure(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failures == nil {
		t.Fatal("nobody noticed")
	}
	t.Logf("noticed: %.150s", r.failures[0])
}

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, s)
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failures != nil
}

func (r *recorder) Helper()                   {}
func (r *recorder) Fail()                     { r.note("failed") }
func (r *recorder) FailNow()                  { r.Fail(); runtime.Goexit() }
func (r *recorder) Error(args ...any)         { r.note(fmt.Sprintln(args...)) }
func (r *recorder) Errorf(f string, a ...any) { r.note(fmt.Sprintf(f, a...)) }
func (r *recorder) Fatal(args ...any)         { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }
