package guardtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// A memory is a guard's state in a map: the simplest thing that passes, and the
// place where faults are put in.
type memory struct {
	mu struct {
		sync.Mutex
		now     time.Time
		nonce   uint64
		records map[string]*record
		forgot  map[string][]byte // results that outlived their mark, for a fault
		down    bool
		lost    bool
	}
	lease     time.Duration
	maxResult int
	window    time.Duration
	fault     fault
	real      bool // the clock is time.Now
}

type record struct {
	marked   bool
	token    dedup.Token
	until    time.Time // end of the lease, or of the mark
	result   []byte
	tooLarge bool
}

// A client is one guard on a memory.
type client struct {
	m     *memory
	ahead time.Duration // of its clock
}

var errDown = errors.New("memory is down")

func newMemory(lease time.Duration, f fault) *memory {
	m := &memory{lease: lease, maxResult: 100, window: time.Hour, fault: f}
	m.mu.now = time.Unix(1_700_000_000, 0)
	m.mu.records = make(map[string]*record)
	m.mu.forgot = make(map[string][]byte)
	return m
}

func (m *memory) subject() Subject {
	c := client{m: m}
	s := Subject{
		Guard: c, Peer: client{m: m}, Ahead: client{m: m, ahead: time.Hour},
		Now: m.now, Advance: m.advance,
		Reopen:   func(testing.TB) Subject { m.restart(); return m.subject() },
		Down:     func(testing.TB) { m.mu.Lock(); defer m.mu.Unlock(); m.mu.down = true },
		Lose:     func(testing.TB) { m.lose() },
		Contains: c.contains, Forget: c.forget,
	}
	if m.real {
		s.Now, s.Advance = nil, nil
	}
	return s
}

func (m *memory) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nowLocked()
}

func (m *memory) nowLocked() time.Time {
	if m.real {
		return time.Now()
	}
	return m.mu.now
}

func (m *memory) advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d > 0 {
		m.mu.now = m.mu.now.Add(d)
	}
}

func (m *memory) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, r := range m.mu.records {
		if !r.marked || m.fault == restartForgets {
			delete(m.mu.records, key)
		}
	}
	if m.fault == tokensAgainAfterRestart {
		m.mu.nonce = 0
	}
}

func (m *memory) lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.mu.records)
	m.mu.lost = m.fault != lossUnnoticed
}

func (m *memory) refusedLocked(ctx context.Context) error {
	switch {
	case ctx.Err() != nil && m.fault != endedContextIgnored:
		return ctx.Err()
	case m.mu.down, m.mu.lost:
		return errDown
	}
	return nil
}

// fold is what a key is looked up by.
func (m *memory) fold(key []byte) string {
	s := string(key)
	switch m.fault {
	case keysFolded:
		s = strings.ToLower(s)
	case keysPadded:
		s = strings.TrimRight(s, " ")
	case keysCut:
		s = s[:min(len(s), 255)]
	case keysCutAtZero:
		s, _, _ = strings.Cut(s, "\x00")
	}
	return s
}

func (m *memory) getLocked(key []byte, now time.Time) *record {
	name := m.fold(key)
	r := m.mu.records[name]
	if r == nil || now.Before(r.until) || !r.marked && m.fault == leasesNeverEnd {
		return r
	}
	if r.marked {
		delete(m.mu.records, name) // a claim whose lease ended stands until somebody takes the key
		return nil
	}
	return r
}

func (m *memory) tokenLocked() (t dedup.Token) {
	if m.mu.nonce++; m.fault == tokensAlike {
		m.mu.nonce = 1
	}
	binary.LittleEndian.PutUint64(t[:], m.mu.nonce)
	return t
}

func (c client) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	cs, err := c.ClaimBatch(ctx, nil, [][]byte{key})
	return cs[0], err
}

func (c client) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	m, base := c.m, len(cs)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == sliceNotCleared && cap(cs) >= base+len(keys) {
		cs = cs[:base+len(keys)]
	} else {
		cs = append(cs, make([]dedup.Claim, len(keys))...)
	}
	for i, key := range keys {
		cs[base+i].Key = key
		if m.fault == keysCopied {
			cs[base+i].Key = slices.Clone(key)
		}
	}
	if err := m.refusedLocked(ctx); err != nil {
		if m.fault == downFailsOpen && m.mu.down {
			for i := range keys {
				cs[base+i].Verdict, cs[base+i].Token = dedup.Fresh, m.tokenLocked()
			}
			return cs, nil
		}
		return cs, err
	}
	var errs []error
	if len(keys) == 0 && m.fault == emptyBatchRefused {
		return cs, errors.New("no keys")
	}
	for i, key := range keys {
		if len(key) == 0 && m.fault != emptyKeyShared || len(key) > dedup.MaxKeyLen {
			at := i
			if m.fault == keyErrorCountsSlice {
				at += base
			}
			errs = append(errs, &dedup.KeyError{Index: at, Len: len(key)})
			if m.fault == badKeyEndsBatch {
				break
			}
			continue
		}
		if err := c.claimLocked(&cs[base+i]); err != nil {
			errs = append(errs, &dedup.ResultError{Index: i, Err: err})
		}
	}
	if m.fault == twinsBothFresh {
		c.freshTwinsLocked(cs[base:])
	}
	return cs, errors.Join(errs...)
}

func (c client) freshTwinsLocked(cs []dedup.Claim) {
	fresh := map[string]dedup.Claim{}
	for i := range cs {
		if first, ok := fresh[string(cs[i].Key)]; ok {
			cs[i].Verdict, cs[i].Token = dedup.Fresh, first.Token
		} else if cs[i].Verdict == dedup.Fresh {
			fresh[string(cs[i].Key)] = cs[i]
		}
	}
}

// clock is whose time a lease is judged by.
func (c client) clockLocked() time.Time {
	if c.m.fault == clientsClock {
		return c.m.nowLocked().Add(c.ahead)
	}
	return c.m.nowLocked()
}

func (c client) claimLocked(claim *dedup.Claim) error {
	m, now := c.m, c.clockLocked()
	r := m.getLocked(claim.Key, now)
	if m.fault == claimInTwoSteps { // asks, and then writes
		m.mu.Unlock()
		for range 5 {
			runtime.Gosched()
		}
		m.mu.Lock()
	}
	switch {
	case r != nil && r.marked:
		claim.Verdict, claim.Expires = dedup.Duplicate, r.until
		if m.fault == duplicateExpiresLate {
			claim.Expires = r.until.Add(m.window)
		}
		if r.tooLarge {
			return dedup.ErrResultTooLarge
		}
		if claim.Result = bytes.Clone(r.result); m.fault == resultsShared {
			claim.Result = r.result
		}
	case r != nil && (now.Before(r.until) || m.fault == leasesNeverEnd):
		claim.Verdict, claim.Expires = dedup.InFlight, r.until
		switch m.fault {
		case inFlightWithoutExpires:
			claim.Expires = time.Time{}
		case inFlightExpiresNow:
			claim.Expires = m.nowLocked()
		}
	default:
		r = &record{token: m.tokenLocked(), until: now.Add(m.lease), marked: m.fault == claimMarks}
		m.mu.records[m.fold(claim.Key)] = r
		claim.Verdict, claim.Token, claim.Expires = dedup.Fresh, r.token, r.until
	}
	return nil
}

// heldLocked returns the record that a claim ends, or nil.
func (c client) heldLocked(claim dedup.Claim) *record {
	m := c.m
	r := m.mu.records[m.fold(claim.Key)]
	switch {
	case r == nil:
		return nil
	case m.fault == tokensIgnored:
		return r
	case r.marked || r.token != claim.Token:
		return nil
	case m.fault == lateCommitRefused && !m.nowLocked().Before(r.until):
		return nil
	}
	return r
}

// end is Commit and Release: f ends one claim.
func (c client) end(ctx context.Context, cs []dedup.Claim, f func(*record, dedup.Claim) error) error {
	m := c.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.refusedLocked(ctx); err != nil {
		return err
	}
	var errs []error
	ended := map[dedup.Token]bool{}
	fresh := -1
	for i, claim := range cs {
		if claim.Verdict != dedup.Fresh {
			continue
		}
		if fresh++; m.fault == lostCountsFresh {
			i = fresh
		}
		if m.fault == resultBeforeToken {
			if r := m.mu.records[m.fold(claim.Key)]; r != nil && claim.Result != nil {
				r.result = bytes.Clone(claim.Result)
			}
		}
		r := c.heldLocked(claim)
		if r == nil {
			if m.fault == twiceInOneCallAccepted && ended[claim.Token] || m.fault == lostNotSaid {
				continue
			}
			errs = append(errs, &dedup.LeaseError{Index: i})
			if m.fault == lostEndsCall {
				break
			}
			continue
		}
		ended[claim.Token] = true
		if err := f(r, claim); err != nil {
			errs = append(errs, &dedup.ResultError{Index: i, Err: err})
		}
	}
	return errors.Join(errs...)
}

func (c client) Commit(ctx context.Context, claims ...dedup.Claim) error {
	m := c.m
	return c.end(ctx, claims, func(r *record, claim dedup.Claim) error {
		if m.fault == commitReleases {
			delete(m.mu.records, m.fold(claim.Key))
			return nil
		}
		var err error
		r.result = append([]byte(nil), claim.Result...)
		switch {
		case m.fault == resultsShared && len(claim.Result) > 0:
			r.result = claim.Result
		case m.fault == resultsLost:
			r.result = nil
		case m.fault == forgetKeepsResult && len(claim.Result) == 0:
			r.result = m.mu.forgot[m.fold(claim.Key)]
		}
		if len(claim.Result) > m.maxResult {
			if m.fault == tooLargeNotMarked {
				return dedup.ErrResultTooLarge
			}
			if r.result = nil; m.fault != tooLargeSilent {
				r.tooLarge, err = m.fault != tooLargeSaidOnce, dedup.ErrResultTooLarge
			}
		}
		r.marked, r.until = true, m.nowLocked().Add(m.window)
		if m.fault == windowShort {
			r.until = m.nowLocked().Add(m.window / 2)
		}
		return err
	})
}

func (c client) Release(ctx context.Context, claims ...dedup.Claim) error {
	return c.end(ctx, claims, func(_ *record, claim dedup.Claim) error {
		if c.m.fault != releaseKeeps {
			delete(c.m.mu.records, c.m.fold(claim.Key))
		}
		return nil
	})
}

func (c client) Extend(ctx context.Context, claim dedup.Claim, d time.Duration) (dedup.Claim, error) {
	m := c.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.refusedLocked(ctx); err != nil {
		return claim, err
	}
	r := c.heldLocked(claim)
	if claim.Verdict != dedup.Fresh || r == nil {
		if m.fault == lostNotExtended {
			return claim, nil
		}
		return claim, dedup.ErrLeaseLost
	}
	if d == 0 {
		d = m.lease
	}
	claim.Expires = m.nowLocked().Add(d)
	if m.fault != extendDoesNothing {
		r.until = claim.Expires
	}
	if m.fault == extendDropsResult {
		claim.Result = nil
	}
	return claim, nil
}

func (c client) contains(_ context.Context, key []byte) (bool, error) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if len(key) == 0 {
		return false, &dedup.KeyError{}
	}
	r := c.m.getLocked(key, c.m.nowLocked())
	return r != nil && (r.marked || c.m.fault == containsClaims), nil
}

func (c client) forget(_ context.Context, key []byte) error {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.m.fault != forgetUnchecked && (len(key) == 0 || len(key) > dedup.MaxKeyLen) {
		return &dedup.KeyError{Len: len(key)}
	}
	name := c.m.fold(key)
	if r := c.m.mu.records[name]; r != nil && r.marked {
		c.m.mu.forgot[name] = r.result
		delete(c.m.mu.records, name)
	}
	return nil
}
