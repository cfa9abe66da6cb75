package dedup

import (
	"context"
	"time"
)

// A Guard decides about keys. The engine, every shared store and every wrapper
// around one of them implement exactly this, and every adapter accepts it. All
// methods may be called by any number of goroutines at once.
//
// An error other than the ones named below means that nothing is known: the
// verdict is Unknown, a mark may or may not have been made. Package guardtest
// checks an implementation against all that is said here.
type Guard interface {
	// Claim asks for the right to handle key. Verdict Fresh gives it, until
	// Commit, Release or the end of the lease. An invalid key gives Unknown and a
	// *KeyError. A Duplicate whose result is lost or was too large to be kept
	// comes with ErrResultLost or ErrResultTooLarge: its verdict holds.
	Claim(ctx context.Context, key []byte) (Claim, error)

	// ClaimBatch claims keys and appends one claim for each to cs, in their order.
	// The caller owns cs and may use it again. A key that comes twice is Fresh
	// once and InFlight then. Errors of single keys (*KeyError, *ResultError) are
	// joined; the other keys are answered all the same.
	ClaimBatch(ctx context.Context, cs []Claim, keys [][]byte) ([]Claim, error)

	// Commit marks the keys of claims whose Verdict is Fresh, keeps their Result
	// if they have one, and ignores claims with another verdict. It returns when
	// marks and results are as durable as the guard makes them.
	//
	// A claim that is no longer held changes nothing, neither the mark nor the
	// result, and gives a *LeaseError. A result that is longer than the guard
	// keeps gives a *ResultError that wraps ErrResultTooLarge, and the key is
	// marked all the same, since its effect has happened. Errors of single claims
	// are joined; the other claims are committed. An ended ctx stops a commit only
	// where it has to wait.
	Commit(ctx context.Context, claims ...Claim) error

	// Release gives claims up, so that their keys are fresh again at once, and
	// ignores claims whose Verdict is not Fresh. A claim that is no longer held
	// changes nothing and gives a *LeaseError; several are joined.
	Release(ctx context.Context, claims ...Claim) error

	// Extend makes the claim's lease end in d from now, or in the guard's own
	// lease where d is 0, and returns the claim with its new Expires. ErrLeaseLost
	// says that the claim is no longer held.
	Extend(ctx context.Context, claim Claim, d time.Duration) (Claim, error)
}
