package dedup

import (
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
	// Expires is a time on the caller's wall clock: with Fresh the end of the
	// caller's lease; with InFlight the end of the other holder's, a good moment
	// for the next delivery; with Duplicate the time until which the mark is
	// surely kept, for those who cache it, or zero: don't cache.
	Expires time.Time
	// Result is the answer to the message that is kept with its mark, or nil. Set
	// it before Commit to keep one; with Duplicate it is the one that was kept.
	// An empty result is no result. It belongs to the caller and is not kept
	// after the call; one that a guard returns is never changed by it.
	Result []byte
	// Unguarded says that no guard could be asked and a policy let the message
	// through: Verdict is Fresh, but nobody holds the key. Commit of such a claim
	// tries to mark it.
	Unguarded bool
}
