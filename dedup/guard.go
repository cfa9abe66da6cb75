package dedup

import (
	"context"
	"encoding/hex"
	"time"
)

// A Token ends one claim and no other (I6): a later claim of the same key has
// another token. The zero Token ends nothing.
type Token [16]byte

// String returns the token in hexadecimal.
func (t Token) String() string { return hex.EncodeToString(t[:]) }

// A Claim is the answer to a request to handle a key.
type Claim struct {
	// Key is the caller's own slice, not a copy. Stores that are shared between
	// processes need it to end the claim; it must not change until then.
	Key []byte
	// Verdict says whether the caller now holds the key (Fresh) or not.
	Verdict Verdict
	// Token ends the claim; zero unless Verdict is Fresh.
	Token Token
	// Expires is the end of the lease: the caller's own with Fresh, the other
	// holder's with InFlight (a good moment for the next delivery), else zero.
	Expires time.Time
}

// A Guard decides about keys. The engine and every shared store implement it,
// every adapter accepts it. All methods may be called by many goroutines.
type Guard interface {
	// Claim asks for the right to handle key. Verdict Fresh gives it, until
	// Commit, Release or the end of the lease.
	Claim(ctx context.Context, key []byte) (Claim, error)
	// Commit marks the keys of claims whose Verdict is Fresh, and ignores the
	// others. It returns when the marks are as durable as the store makes them.
	// A claim that is no longer held changes nothing and gives ErrLeaseLost.
	Commit(ctx context.Context, claims ...Claim) error
	// Release gives claims up, so that their keys are fresh again at once. A
	// claim that is no longer held changes nothing and gives ErrLeaseLost.
	Release(ctx context.Context, claims ...Claim) error
}
