package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// Commit marks the keys of claims; see dedup.Guard. A claim may be committed up to
// ten minutes after its lease, if nobody else has taken the key.
//
// Where an attempt got no answer and the next one finds the key marked, that mark is
// this commit's if the claim has not expired, and no error is given.
func (s *Store) Commit(ctx context.Context, claims ...dedup.Claim) error {
	p := s.plan(s.lay.commit, len(claims), s.opts.Window.Milliseconds()+1)
	var large, errs []error
	for i := range claims {
		claim := &claims[i]
		if claim.Verdict != dedup.Fresh {
			continue
		}
		if !valid(claim.Key) { // nobody can hold it
			errs = append(errs, &dedup.LeaseError{Index: i})
			continue
		}
		var mark any = "1"
		if n := len(claim.Result); n > max(s.opts.MaxResult, 0) || n > 0 && s.opts.DedupListener {
			mark = "2"
			large = append(large, &dedup.ResultError{Index: i, Err: dedup.ErrResultTooLarge})
		} else if n > 0 {
			mark = append(append(make([]byte, 0, 1+n), '='), claim.Result...)
		}
		p.add(i, claim.Key, recordOf(claim), mark).bytes += len(claim.Result)
	}
	errs = append(errs, s.run(ctx, p.calls))
	unmarked := make(map[int]bool)
	now := s.opts.now()
	for _, c := range p.calls {
		if c.err != nil {
			for _, i := range c.at {
				unmarked[i] = true
			}
			continue
		}
		for r := (reader{c: c}); r.more(); {
			i, isMarked := r.position(), r.int() == 1
			if isMarked && c.unsure && now.Before(claims[i].Expires) {
				continue
			}
			unmarked[i] = true
			errs = append(errs, &dedup.LeaseError{Index: i})
			s.stats.lost.Add(1)
		}
		s.stats.committed.Add(uint64(len(c.at)))
	}
	for _, err := range large {
		if !unmarked[dedup.IndexesOf(err, dedup.ErrResultTooLarge)[0]] {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Release gives claims up; see dedup.Guard.
func (s *Store) Release(ctx context.Context, claims ...dedup.Claim) error {
	p := s.plan(s.lay.release, len(claims))
	var errs []error
	for i := range claims {
		claim := &claims[i]
		switch {
		case claim.Verdict != dedup.Fresh || claim.Unguarded:
		case !valid(claim.Key):
			errs = append(errs, &dedup.LeaseError{Index: i})
		default:
			p.add(i, claim.Key, recordOf(claim))
		}
	}
	errs = append(errs, s.run(ctx, p.calls))
	now := s.opts.now()
	for _, c := range p.calls {
		if c.err != nil {
			continue
		}
		for r := (reader{c: c}); r.more(); {
			i := r.position()
			if c.unsure && now.Before(claims[i].Expires) {
				continue // an attempt without an answer has released it
			}
			errs = append(errs, &dedup.LeaseError{Index: i})
			s.stats.lost.Add(1)
		}
		s.stats.released.Add(uint64(len(c.at)))
	}
	return errors.Join(errs...)
}

// Extend makes the claim's lease end in d from now, or in Options.Lease where d is 0;
// see dedup.Guard. A d below 0 or above 100 years is an error.
func (s *Store) Extend(ctx context.Context, claim dedup.Claim, d time.Duration) (dedup.Claim, error) {
	if d == 0 {
		d = s.opts.Lease
	}
	if d < 0 || d > mostTime {
		return claim, fmt.Errorf("redisstore: extend by %v: it must be from 0 to 100 years", d)
	}
	if claim.Verdict != dedup.Fresh || claim.Unguarded || !valid(claim.Key) {
		return claim, fmt.Errorf("redisstore: extend: %w", dedup.ErrLeaseLost)
	}
	p := s.plan(s.lay.extend, 1)
	c := p.add(0, claim.Key, recordOf(&claim), s.leaseMS(d))
	if err := s.run(ctx, p.calls); err != nil {
		return claim, err
	}
	if !c.flag() {
		s.stats.lost.Add(1)
		return claim, fmt.Errorf("redisstore: extend: %w", dedup.ErrLeaseLost)
	}
	claim.Expires = c.sent.Add(d).Round(0)
	return claim, nil
}
