package sqlstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// maxTries bounds how often a statement is repeated. With the pauses below
	// this is at least two seconds.
	maxTries   = 20
	firstPause = time.Millisecond
	maxPause   = 200 * time.Millisecond
)

// retry calls f until it succeeds, while the database says that f changed
// nothing and should be repeated: deadlocks and serialization failures. Other
// errors are returned at once: after a lost connection nobody knows whether the
// statement has run.
func (s *Store) retry(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || !s.dialect.Again(err) {
			return err
		}
		if try == maxTries {
			return fmt.Errorf("given up after %d tries: %w", try, err)
		}
		s.stats.retries.Add(1)
		if waitErr := pause(ctx, backoff(try)); waitErr != nil {
			return fmt.Errorf("%w while waiting for another try after: %w", waitErr, err)
		}
	}
}

// backoff is random, so that those who met don't meet again.
func backoff(try int) time.Duration {
	longest := min(maxPause, firstPause<<min(try, 10))
	return longest/2 + rand.N(longest/2+1)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
