package sqlintents

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"
)

const maxTries = 20

// again says whether a statement that failed by itself as the loser of a deadlock
// or of a serialization conflict is to be tried once more, and waits a moment
// before.
func again(ctx context.Context, err error, try int) bool {
	if err == nil || try >= maxTries || !conflict(err) {
		return false
	}
	timer := time.NewTimer(rand.N(time.Duration(1+try) * time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// conflict knows the SQLSTATEs 40001 and 40P01 without importing a driver:
// PostgreSQL's drivers have a method for it, MySQL's says it in its text.
func conflict(err error) bool {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState() == "40001" || state.SQLState() == "40P01"
	}
	return strings.Contains(err.Error(), "(40001)")
}
