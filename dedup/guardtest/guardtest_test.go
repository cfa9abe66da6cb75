package guardtest

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fault is one way of being wrong.
type fault string

const (
	none                    fault = ""
	tokensIgnored           fault = "a token is ignored"
	tokensAlike             fault = "all claims have one token"
	tokensAgainAfterRestart fault = "tokens come again after a restart"
	leasesNeverEnd          fault = "a lease doesn't end"
	lateCommitRefused       fault = "a claim ends with its lease though nobody took the key"
	extendDoesNothing       fault = "Extend changes nothing"
	extendDropsResult       fault = "Extend drops the result"
	claimMarks              fault = "a claim is a mark"
	commitReleases          fault = "Commit doesn't mark"
	releaseKeeps            fault = "Release keeps the claim"
	keysFolded              fault = "keys are folded to lower case"
	keysPadded              fault = "trailing spaces don't count"
	keysCut                 fault = "keys are cut at 255 bytes"
	keysCutAtZero           fault = "keys end at a zero byte"
	keysCopied              fault = "Claim.Key is a copy"
	emptyKeyShared          fault = "the empty key is a key"
	badKeyEndsBatch         fault = "a bad key ends its batch"
	keyErrorCountsSlice     fault = "KeyError.Index counts from the slice's beginning"
	emptyBatchRefused       fault = "a batch without keys is refused"
	forgetUnchecked         fault = "Forget takes any key"
	sliceNotCleared         fault = "old claims shine through a slice that is used again"
	twinsBothFresh          fault = "both twins of a batch are fresh"
	lostNotSaid             fault = "lost claims give no error"
	lostNotExtended         fault = "Extend of a lost claim gives no error"
	lostEndsCall            fault = "a lost claim ends its call"
	lostCountsFresh         fault = "LeaseError.Index counts fresh claims only"
	twiceInOneCallAccepted  fault = "the same claim twice in a call gives no error"
	claimInTwoSteps         fault = "a claim asks and then writes"
	clientsClock            fault = "the client's clock judges leases"
	inFlightWithoutExpires  fault = "in flight without a time"
	inFlightExpiresNow      fault = "in flight until now"
	endedContextIgnored     fault = "an ended context is ignored"
	downFailsOpen           fault = "without its memory the guard lets everything through"
	lossUnnoticed           fault = "lost records are not noticed"
	restartForgets          fault = "a restart forgets marks"
	windowShort             fault = "a mark is kept for half the window"
	duplicateExpiresLate    fault = "Expires of a duplicate is too late"
	containsClaims          fault = "Contains is true of a claim"
	resultBeforeToken       fault = "a result is kept before its token is looked at"
	resultsLost             fault = "results are not kept"
	resultsShared           fault = "results are kept and handed out without a copy"
	tooLargeNotMarked       fault = "a key whose result is too large is not marked"
	tooLargeSilent          fault = "a result that is too large is dropped without a word"
	tooLargeSaidOnce        fault = "only Commit says that a result is too large"
	forgetKeepsResult       fault = "Forget keeps the result"
)

var faults = []fault{
	tokensIgnored, tokensAlike, tokensAgainAfterRestart, leasesNeverEnd, lateCommitRefused, extendDoesNothing, extendDropsResult,
	claimMarks, commitReleases, releaseKeeps, keysFolded, keysPadded, keysCut, keysCutAtZero, keysCopied, emptyKeyShared,
	badKeyEndsBatch, emptyBatchRefused, forgetUnchecked, keyErrorCountsSlice, sliceNotCleared, twinsBothFresh, lostNotSaid, lostNotExtended, lostEndsCall,
	lostCountsFresh, twiceInOneCallAccepted, claimInTwoSteps, clientsClock, inFlightWithoutExpires, inFlightExpiresNow,
	endedContextIgnored, downFailsOpen, lossUnnoticed, restartForgets, windowShort, duplicateExpiresLate, containsClaims,
	resultBeforeToken, resultsLost, resultsShared, tooLargeNotMarked, tooLargeSilent, tooLargeSaidOnce, forgetKeepsResult,
}

func configOf(f fault) Config {
	return Config{
		New:       func(_ testing.TB, lease time.Duration) Subject { return newMemory(lease, f).subject() },
		MaxResult: 100,
		Window:    time.Hour,
		Forgotten: time.Hour + time.Minute,
	}
}

func TestSoundGuardPasses(t *testing.T) {
	Run(t, configOf(none))
}

// withoutResults is c for guards that keep none.
func withoutResults(c Config) Config {
	with := c.New
	c.MaxResult = 0
	c.New = func(t testing.TB, lease time.Duration) Subject {
		s := with(t, lease)
		s.Guard.(client).m.maxResult = 0
		return s
	}
	return c
}

func TestSoundGuardPassesWithoutResults(t *testing.T) {
	Run(t, withoutResults(configOf(none)))
}

// TestSoundGuardPassesInRealTime has the same guard on the real clock.
func TestSoundGuardPassesInRealTime(t *testing.T) {
	c := configOf(none)
	c.New = func(_ testing.TB, lease time.Duration) Subject {
		m := newMemory(lease, none)
		m.real = true
		return m.subject()
	}
	Run(t, c)
}

// TestEachFaultIsFound puts one fault after the other into the sound guard; each
// must make at least one case fail.
func TestEachFaultIsFound(t *testing.T) {
	caught := make(map[string]bool)
	for _, f := range faults {
		t.Run(string(f), func(t *testing.T) {
			var red []string
			for _, tc := range cases() {
				r := &recorder{TB: t}
				c := configOf(f)
				if tc.needs&needNoResults != 0 {
					c = withoutResults(c)
				}
				if r.run(func() { c.check(r, tc) }); r.Failed() {
					red = append(red, tc.name)
					caught[tc.name] = true
				}
			}
			if red == nil {
				t.Fatal("no case fails")
			}
			t.Logf("%d fail: %s", len(red), strings.Join(red, ", "))
		})
	}
	for _, tc := range cases() {
		if !caught[tc.name] {
			t.Errorf("no fault makes the case %s fail", tc.name)
		}
	}
}

// A recorder notes failures in place of its TB.
type recorder struct {
	testing.TB
	mu struct {
		sync.Mutex
		failures []string
	}
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

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.failures = append(r.mu.failures, s)
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.failures != nil
}

func (r *recorder) Helper()                   {}
func (r *recorder) Fail()                     { r.note("failed") }
func (r *recorder) FailNow()                  { r.Fail(); runtime.Goexit() }
func (r *recorder) Error(args ...any)         { r.note(fmt.Sprintln(args...)) }
func (r *recorder) Errorf(f string, a ...any) { r.note(fmt.Sprintf(f, a...)) }
func (r *recorder) Fatal(args ...any)         { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }
