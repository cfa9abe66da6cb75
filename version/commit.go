package version

import (
	"context"
	"errors"

	"github.com/firstseen/firstseen/dedup"
)

// maxGroup is how many updates one transaction takes at most. The largest make
// 300 bytes each, 1.2 MB of the 2.4 MB that Badger allows with its memtable of
// 16 MB.
const maxGroup = 4096

// A question is one call on its way through the committer, or a part of one.
type question struct {
	updates  []Update
	answers  []Answer // the caller's, as long as updates
	first    int      // position of updates in the call, for errors
	look     bool     // only Current is wanted
	err      error
	answered chan struct{}
}

// ask hands q to the committer and waits for its answer. Once it was handed
// over, ctx doesn't end the wait: the answer is on its way, and what is recorded
// must be told.
func (s *Store) ask(ctx context.Context, q *question) error {
	q.answered = make(chan struct{})
	select {
	case <-s.closed:
		return dedup.ErrClosed
	default:
	}
	select {
	case s.asked <- q:
	case <-s.closed:
		return dedup.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-q.answered:
		return q.err
	case <-s.done:
	}
	// The committer has ended: it answered q before that, or never saw it.
	select {
	case <-q.answered:
		return q.err
	default:
		return dedup.ErrClosed
	}
}

// commit answers questions until Close. The time that one transaction takes to
// reach the disk is what gathers the next group.
func (s *Store) commit() {
	defer close(s.done)
	var next *question
	for {
		first := next
		if next = nil; first == nil {
			select {
			case first = <-s.asked:
			case <-s.closed:
				select {
				case first = <-s.asked: // handed over before Close
				default:
					s.err = s.db.close()
					return
				}
			}
		}
		group, n := []*question{first}, len(first.updates)
	gather:
		for n < maxGroup {
			select {
			case q := <-s.asked:
				if n += len(q.updates); n > maxGroup {
					next = q
					break gather
				}
				group = append(group, q)
			default:
				break gather
			}
		}
		s.answer(group)
	}
}

// answer decides a group's questions in their order, writes what is new, and
// lets the callers go.
func (s *Store) answer(group []*question) {
	t := s.db.begin()
	for _, q := range group {
		q.err = s.decide(t, q)
	}
	if err := t.commit(); err != nil {
		for _, q := range group {
			clear(q.answers)
			q.err = err
		}
	}
	for _, q := range group {
		close(q.answered)
	}
}

func (s *Store) decide(t *transaction, q *question) error {
	var errs []error
	for i := range q.updates {
		u := &q.updates[i]
		err := u.check(q.first + i)
		if err == nil {
			q.answers[i], err = s.one(t, u, q.look)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

func (s *Store) one(t *transaction, u *Update, look bool) (Answer, error) {
	key := appendKey(nil, u.Entity)
	current, err := t.get(key)
	switch {
	case err != nil:
		return Answer{}, err
	case look:
		return Answer{Current: current}, nil
	case u.Version <= current:
		return Answer{Stale, current}, nil
	case s.opts.Strict && u.Version != current+1:
		return Answer{Gap, current}, nil
	}
	t.set(key, current, u.Version)
	return Answer{Apply, u.Version}, nil
}
