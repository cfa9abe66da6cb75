package guardtest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// Config says what Run may expect of a guard. New is required.
type Config struct {
	// New makes a guard with an empty memory whose claims last for lease, and
	// frees it with t.Cleanup. It is called once for every case.
	New func(t testing.TB, lease time.Duration) Subject
	// MaxResult is the length in bytes of the longest result that the guard
	// keeps. 0: it keeps none, and a result that is given is too large.
	MaxResult int
	// ToldOnce says that the memory has no room to note that a result was too large
	// or unwanted: Commit says so, and later claims don't.
	ToldOnce bool
	// Window is how long the guard remembers a mark at least, and Forgotten the
	// time after which it has surely forgotten it. They need Subject.Advance.
	// 0: not checked.
	Window, Forgotten time.Duration
}

// A Subject is one memory of keys, seen through a guard. Only Guard is required;
// a field that is nil leaves out the cases that need it.
type Subject struct {
	// Guard is what is checked.
	Guard dedup.Guard
	// Peer is a second client of the same memory, as another process would be.
	// Without it Guard stands in.
	Peer dedup.Guard
	// Ahead is a client of the same memory whose own clock runs an hour fast.
	Ahead dedup.Guard

	// Advance moves the guard's fake clock forward, and Now reads it. Without
	// them the real clock is waited for.
	Advance func(d time.Duration)
	Now     func() time.Time

	// Reopen closes the guard and opens its memory again.
	Reopen func(t testing.TB) Subject
	// Down makes the memory unreachable for good: the server is stopped, the
	// directory closed.
	Down func(t testing.TB)
	// Lose makes the memory lose everything behind the guard's back, as a
	// failover of a server without persistence does.
	Lose func(t testing.TB)

	// Contains says whether a key is marked, and Forget takes its mark back.
	Contains func(ctx context.Context, key []byte) (bool, error)
	Forget   func(ctx context.Context, key []byte) error
}

// longLease doesn't end while a case runs, unless the case ends it.
const longLease = time.Minute

// shortLease is what a lease is shortened to under a real clock. It is a figure
// of the suite's speed only: every wait for its end is followed by polling.
const shortLease = 50 * time.Millisecond

// patience is how long the suite polls for what must come.
const patience = 30 * time.Second

// A need is what a case can't do without.
type need uint16

const (
	needResults need = 1 << iota
	needForget
	needContains
	needReopen
	needDown
	needLose
	needAhead
	needWindow
	needNoResults
)

type testCase struct {
	name  string // group and name, joined by a slash
	needs need
	run   func(b *bed)
}

// cases returns all cases in the order in which they run: what fails first is
// the simplest thing that is wrong.
func cases() []testCase {
	var all []testCase
	for _, group := range [][]testCase{
		claimCases, tokenCases, leaseCases, batchCases, keyCases, contextCases,
		raceCases, memoryCases, resultCases, holeCases,
	} {
		all = append(all, group...)
	}
	return all
}

// Run checks the guards that c.New makes, one subtest for each case.
func Run(t *testing.T, c Config) {
	t.Helper()
	if c.New == nil {
		t.Fatal("guardtest: Config.New is required")
	}
	has := c.offers(t)
	var left []string
	for _, tc := range cases() {
		if missing := tc.needs &^ has; missing != 0 {
			if missing != needNoResults {
				left = append(left, tc.name)
			}
			continue
		}
		t.Run(tc.name, func(t *testing.T) { c.check(t, tc) })
	}
	if left != nil {
		t.Logf("left out, since the subject doesn't offer what they need: %s", strings.Join(left, ", "))
	}
}

// check runs one case. t may be any recorder of failures whose FailNow ends the
// goroutine.
func (c Config) check(t testing.TB, tc testCase) {
	t.Helper()
	b := &bed{TB: t, Config: c}
	b.use(c.New(t, longLease))
	tc.run(b)
}

// offers looks at one subject for what it can do.
func (c Config) offers(t testing.TB) need {
	t.Helper()
	s := c.New(t, longLease)
	if s.Guard == nil {
		t.Fatal("guardtest: Subject.Guard is required")
	}
	if (s.Advance == nil) != (s.Now == nil) {
		t.Fatal("guardtest: Subject.Advance and Subject.Now come together")
	}
	var n need
	for what, ok := range map[need]bool{
		needResults:   c.MaxResult > 0,
		needNoResults: c.MaxResult == 0,
		needForget:    s.Forget != nil,
		needContains:  s.Contains != nil,
		needReopen:    s.Reopen != nil,
		needDown:      s.Down != nil,
		needLose:      s.Lose != nil,
		needAhead:     s.Ahead != nil,
		needWindow:    s.Advance != nil && c.Window > 0 && c.Forgotten > c.Window,
	} {
		if ok {
			n |= what
		}
	}
	return n
}
