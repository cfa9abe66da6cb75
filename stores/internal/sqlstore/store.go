package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/sqlretry"
)

// A Store is a dedup.Guard in a table. All methods may be called by any number
// of goroutines at once. The stores of package postgres and mysql embed it.
type Store struct {
	db      *sql.DB
	dialect Dialect
	name    string // the package, for messages
	opts    Options
	stats   counters
	sweeper sweeper
	closed  atomic.Bool
	now     func() time.Time
}

// SetClock gives a store another clock of the caller's, for tests.
func SetClock(s *Store, now func() time.Time) { s.now = now }

// New makes a store. dialect is given the options with their defaults.
func New(name string, db *sql.DB, o Options, dialect func(Options) (Dialect, error)) (*Store, error) {
	if db == nil {
		return nil, fmt.Errorf("%s: the *sql.DB is nil", name)
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("%s: bad options: %w", name, err)
	}
	s := &Store{db: db, name: name, opts: o, now: time.Now}
	if s.dialect, err = dialect(o); err != nil {
		return nil, fmt.Errorf("%s: bad options: %w", name, err)
	}
	s.startSweeper()
	return s, nil
}

// Close ends the sweeper and waits for it; the *sql.DB stays open. Later calls
// give ErrClosed.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.stopSweeper()
	return nil
}

// fail says where an error comes from and counts it.
func (s *Store) fail(doing string, err error) error {
	if err == nil {
		return nil
	}
	s.stats.errors.Add(1)
	return fmt.Errorf("%s: %s: %w", s.name, doing, err)
}

// Claim implements dedup.Guard. A fresh key costs one statement.
func (s *Store) Claim(ctx context.Context, key []byte) (dedup.Claim, error) {
	var one [1]dedup.Claim
	cs, err := s.ClaimBatch(ctx, one[:0], [][]byte{key})
	return cs[0], err
}

// ClaimBatch implements dedup.Guard. Large batches are split; when one part
// fails, the claims of the parts before it stand, with their verdicts.
func (s *Store) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	r := Request{Nonce: newNonce(), Lease: s.opts.Lease, Window: s.opts.Window}
	set, errs := newKeySet(s.dialect, keys, r.Nonce)
	if err := s.claim(ctx, s.db, r, set.items); err != nil {
		errs = append(errs, s.fail("claim", err))
	}
	for i, key := range keys {
		c := dedup.Claim{Key: key}
		if set.of[i] >= 0 {
			it := set.items[set.of[i]]
			c.Verdict, c.Expires = it.Answer.Verdict, it.Answer.expires
			switch {
			case c.Verdict == dedup.Fresh && it.At == i:
				c.Token = it.Token
			case c.Verdict == dedup.Fresh:
				c.Verdict = dedup.InFlight
			case c.Verdict == dedup.Duplicate && it.Answer.State == TooLarge:
				errs = append(errs, &dedup.ResultError{Index: i, Err: dedup.ErrResultTooLarge})
			case c.Verdict == dedup.Duplicate:
				c.Result = it.Answer.Result
			}
		}
		s.stats.verdicts[c.Verdict].Add(1)
		cs = append(cs, c)
	}
	return cs, join(errs)
}

// join is errors.Join, but leaves a single error as it is.
func join(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// claim asks for items until each has its answer. Rows that change while they
// are looked at are asked for again.
func (s *Store) claim(ctx context.Context, q Querier, r Request, items []*Item) error {
	if s.closed.Load() {
		return dedup.ErrClosed
	}
	for _, part := range parts(items, s.dialect.MaxItems()) {
		for round := 1; len(part) > 0; round++ {
			before := s.now()
			err := s.run(ctx, r.InTx, func() error {
				before = s.now()
				for _, it := range part {
					it.Answer = Answer{} // a failed try may have left some
				}
				return s.dialect.Claim(ctx, q, r, part)
			})
			if err != nil {
				return err
			}
			if part = unanswered(part, before); len(part) == 0 {
				break
			}
			if round == sqlretry.MaxTries {
				return fmt.Errorf("%d keys changed %d times while they were looked at", len(part), round)
			}
			s.stats.retries.Add(1)
			if err := sqlretry.Pause(ctx, sqlretry.Backoff(round)); err != nil {
				return err
			}
		}
	}
	return nil
}

// unanswered gives the answered items their Expires and returns the others.
// before is a time before the statement began.
func unanswered(items []*Item, before time.Time) []*Item {
	var left []*Item
	for _, it := range items {
		if it.Answer.Verdict == dedup.Unknown {
			left = append(left, it)
			continue
		}
		it.Answer.expires = before.Add(it.Answer.Left)
	}
	return left
}

// run repeats f where that is ours to do: in the caller's transaction a failed
// statement has undone everything before it.
func (s *Store) run(ctx context.Context, inTx bool, f func() error) error {
	if inTx {
		return f()
	}
	return s.retry(ctx, f)
}

// Commit implements dedup.Guard. Marks are as durable as the database makes its
// commits. After an error that names no claim, such as a lost connection, the
// marks may or may not have been made.
func (s *Store) Commit(ctx context.Context, claims ...dedup.Claim) error {
	return s.commit(ctx, s.db, false, claims)
}

func (s *Store) commit(ctx context.Context, q Querier, inTx bool, claims []dedup.Claim) error {
	if s.closed.Load() {
		return s.fail("commit", dedup.ErrClosed)
	}
	var errs []error
	for _, set := range endings(s.dialect, claims, false) {
		s.limitResults(set)
		for _, part := range parts(set, s.dialect.MaxItems()) {
			r := Request{Nonce: newNonce(), Window: s.opts.Window, InTx: inTx}
			err := s.run(ctx, inTx, func() error { return s.dialect.Commit(ctx, q, r, part) })
			if err != nil {
				return join(append(errs, s.fail("commit", err)))
			}
			errs = append(errs, s.ended(part, &s.stats.committed)...)
		}
	}
	return join(append(errs, s.commitUnguarded(ctx, q, inTx, claims)...))
}

// limitResults takes the results away that are too long to be kept.
func (s *Store) limitResults(items []*Item) {
	for _, it := range items {
		if len(it.Result) > max(s.opts.MaxResult, 0) {
			it.State, it.Result = TooLarge, nil
		}
	}
}

// ended counts what became of claims and returns the errors that name them.
func (s *Store) ended(items []*Item, count *atomic.Uint64) (errs []error) {
	for _, it := range items {
		switch {
		case !it.Answer.Held:
			s.stats.lost.Add(1)
			errs = append(errs, &dedup.LeaseError{Index: it.At})
		case it.State == TooLarge:
			errs = append(errs, &dedup.ResultError{Index: it.At, Err: dedup.ErrResultTooLarge})
		}
		if it.Answer.Held {
			count.Add(1)
		}
	}
	return errs
}

// commitUnguarded marks keys that were handled without a claim, where nobody
// else holds them. That a key is marked already is what was wanted.
func (s *Store) commitUnguarded(ctx context.Context, q Querier, inTx bool, claims []dedup.Claim) (errs []error) {
	for _, set := range endings(s.dialect, claims, true) {
		r := Request{Nonce: newNonce(), Window: s.opts.Window, Mark: true, InTx: inTx}
		s.limitResults(set)
		for _, it := range set {
			it.Token = r.Nonce.token(it.At)
		}
		if err := s.claim(ctx, q, r, set); err != nil {
			return append(errs, s.fail("commit", err))
		}
		for _, it := range set {
			it.Answer.Held = it.Answer.Verdict != dedup.InFlight
			if it.Answer.Verdict == dedup.Duplicate {
				it.State = Marked
			}
		}
		errs = append(errs, s.ended(set, &s.stats.committed)...)
	}
	return errs
}

// Release implements dedup.Guard.
func (s *Store) Release(ctx context.Context, claims ...dedup.Claim) error {
	if s.closed.Load() {
		return s.fail("release", dedup.ErrClosed)
	}
	var errs []error
	for _, set := range endings(s.dialect, claims, false) {
		for _, it := range set {
			it.State, it.Result = Claimed, nil
		}
		for _, part := range parts(set, s.dialect.MaxItems()) {
			r := Request{Nonce: newNonce()}
			err := s.retry(ctx, func() error { return s.dialect.Release(ctx, s.db, r, part) })
			if err != nil {
				return join(append(errs, s.fail("release", err)))
			}
			errs = append(errs, s.ended(part, &s.stats.released)...)
		}
	}
	return join(errs)
}

// Extend implements dedup.Guard.
func (s *Store) Extend(ctx context.Context, claim dedup.Claim, d time.Duration) (dedup.Claim, error) {
	if s.closed.Load() {
		return claim, s.fail("extend", dedup.ErrClosed)
	}
	if d < 0 || d > maxDuration {
		return claim, s.fail("extend", fmt.Errorf("a lease can't be %v long", d))
	}
	if claim.Verdict != dedup.Fresh || claim.Unguarded {
		return claim, s.fail("extend", dedup.ErrLeaseLost)
	}
	key, _ := encode(s.dialect, 0, claim.Key) // no row has an empty one, so the claim is not held
	it := Item{Key: key, Token: claim.Token}
	r := Request{Lease: max(orDefault(d, s.opts.Lease), time.Microsecond), Window: s.opts.Window}
	before, err := s.extend(ctx, r, &it)
	if err != nil {
		return claim, s.fail("extend", err)
	}
	s.stats.extended.Add(1)
	claim.Expires = before.Add(r.Lease)
	return claim, nil
}

func (s *Store) extend(ctx context.Context, r Request, it *Item) (before time.Time, err error) {
	err = s.retry(ctx, func() error {
		before = s.now()
		return s.dialect.Extend(ctx, s.db, r, it)
	})
	if err == nil && !it.Answer.Held {
		s.stats.lost.Add(1)
		err = dedup.ErrLeaseLost
	}
	return before, err
}

// retry repeats f while the database says that it changed nothing and should be
// repeated.
func (s *Store) retry(ctx context.Context, f func() error) error {
	return sqlretry.Do(ctx, s.dialect.Again, func() { s.stats.retries.Add(1) }, f)
}
