package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// Codes in the answer of a claim; see claim.lua.
const (
	marked = 1 + iota
	markedTooLarge
	markedResult
	inFlight
)

// Claim asks for the right to handle key; see dedup.Guard. While claims are refused
// for a gap it gives that *GapError.
func (s *Store) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	cs, err := s.ClaimBatch(ctx, nil, [][]byte{key})
	return cs[0], err
}

// ClaimBatch claims keys and appends one claim for each to cs; see dedup.Guard. If a
// node of a cluster can't be asked, the keys of the others are answered all the same.
func (s *Store) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	cs = slices.Grow(cs, len(keys))
	for _, key := range keys {
		cs = append(cs, dedup.Claim{Key: key})
	}
	mine := cs[len(cs)-len(keys):]
	if err := s.watch.refusal(); err != nil {
		s.stats.refused.Add(uint64(len(keys)))
		return cs, err
	}
	p := s.plan(s.lay.claim, len(keys), s.leaseMS(s.opts.Lease))
	var errs []error
	for i, key := range keys {
		if !valid(key) {
			errs = append(errs, &dedup.KeyError{Index: i, Len: len(key)})
			continue
		}
		c := p.add(i, key)
		if c.record == nil {
			c.record = newRecord()
			c.argv = append(c.argv, c.record)
		}
	}
	errs = append(errs, s.run(ctx, p.calls))
	for _, c := range p.calls {
		errs = append(errs, s.fill(mine, c))
	}
	if err := s.watch.refusal(); err != nil {
		s.giveBack(mine)
		errs = append(errs, err)
	}
	s.stats.verdicts(mine)
	return cs, errors.Join(errs...)
}

// leaseMS is the time to live of a claim's record in ms. One is added, because the
// server cuts its own time down to whole ones.
func (s *Store) leaseMS(lease time.Duration) int64 { return (lease + late).Milliseconds() + 1 }

// fill sets the claims that a call answered; cs have their keys.
func (s *Store) fill(cs []dedup.Claim, c *call) error {
	if c.err != nil {
		return nil
	}
	expires := c.sent.Add(s.opts.Lease).Round(0)
	for _, i := range c.at {
		cs[i].Token, cs[i].Verdict, cs[i].Expires = tokenOf(c.record, cs[i].Key), dedup.Fresh, expires
	}
	now := s.opts.now().Round(0)
	var errs []error
	for r := (reader{c: c}); r.more(); {
		i, code, ms := r.position(), r.int(), r.int()
		if r.bad {
			break
		}
		claim := &cs[i]
		claim.Token, claim.Verdict, claim.Expires = dedup.Token{}, dedup.Duplicate, time.Time{}
		if ms > 0 {
			// It may end up to a millisecond earlier: both times are cut down to whole ones.
			claim.Expires = c.sent.Add(time.Duration(ms-1) * time.Millisecond).Round(0)
		}
		switch code {
		case marked:
		case markedTooLarge:
			errs = append(errs, &dedup.ResultError{Index: i, Err: dedup.ErrResultTooLarge})
		case markedResult:
			claim.Result = r.bytes()
		case inFlight:
			claim.Verdict = dedup.InFlight
			claim.Expires = now.Add(time.Duration(ms) * time.Millisecond)
		default:
			errs = append(errs, fmt.Errorf("redisstore: code %d in the answer of a claim", code))
			claim.Verdict = dedup.Unknown
		}
	}
	return errors.Join(errs...)
}

// giveBack makes claims of a store with a gap unknown and their keys free again, as
// far as that goes at once; the others end with their lease.
func (s *Store) giveBack(cs []dedup.Claim) {
	held := slices.Clone(cs)
	for i := range cs {
		if cs[i].Verdict == dedup.Fresh {
			cs[i] = dedup.Claim{Key: cs[i].Key}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkLimit)
	defer cancel()
	_ = s.Release(ctx, held...)
}

// A reader takes the answer of a call apart.
type reader struct {
	c   *call
	n   int
	bad bool // the answer is not what the script gives
}

func (r *reader) more() bool { return !r.bad && r.n < len(r.c.answer) }

func (r *reader) next() any {
	if r.n == len(r.c.answer) {
		r.bad = true
		return nil
	}
	r.n++
	return r.c.answer[r.n-1]
}

func (r *reader) int() int64 {
	v, ok := r.next().(int64)
	r.bad = r.bad || !ok
	return v
}

// position returns where in the caller's batch the record stands that comes next.
func (r *reader) position() int {
	v := r.int() - 1
	if v < 0 || v >= int64(len(r.c.at)) {
		r.bad = true
		return 0
	}
	return r.c.at[v]
}

func (r *reader) bytes() []byte {
	v, ok := r.next().(string)
	r.bad = r.bad || !ok
	return []byte(v)
}

// flag is the answer of a script that says yes or no.
func (c *call) flag() bool {
	r := reader{c: c}
	return r.int() == 1
}
