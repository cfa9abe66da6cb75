package sqlretry

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// MaxTries bounds how often a statement is repeated. With the pauses below
	// this is at least two seconds.
	MaxTries   = 20
	firstPause = time.Millisecond
	maxPause   = 200 * time.Millisecond
)

// Do calls f until it succeeds, while again says that its error asks for a
// repetition. Other errors are returned at once. repeated, where it is not nil,
// is called before each repetition.
func Do(ctx context.Context, again func(error) bool, repeated func(), f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || !again(err) {
			return err
		}
		if try == MaxTries {
			return fmt.Errorf("given up after %d tries: %w", try, err)
		}
		if repeated != nil {
			repeated()
		}
		if waitErr := Pause(ctx, Backoff(try)); waitErr != nil {
			return fmt.Errorf("%w while waiting for another try after: %w", waitErr, err)
		}
	}
}

// Backoff is how long to wait after so many tries, from 1. It is random, so that
// those who met don't meet again.
func Backoff(try int) time.Duration {
	longest := min(maxPause, firstPause<<min(try, 10))
	return longest/2 + rand.N(longest/2+1)
}

// Pause waits, or returns ctx's error when it ends first.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
