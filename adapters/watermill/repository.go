package watermill

import (
	"context"
	"fmt"

	"github.com/firstseen/firstseen/dedup"
)

// A Repository is an ExpiringKeyRepository of Watermill's Deduplicator: a guard that
// marks each key when it is asked for. Use a KeyFactory that does not fold different
// messages into one: the default, Adler-32, does.
type Repository struct{ guard dedup.Guard }

// NewRepository makes one over a guard, whose window is that of the Deduplicator.
func NewRepository(guard dedup.Guard) *Repository { return &Repository{guard} }

// IsDuplicate reports whether key was asked for within the window, and marks it. Where
// that can't be said it is an error, and so the message comes again: the guard's
// own, or one that says that somebody is marking the key at the moment.
func (r *Repository) IsDuplicate(ctx context.Context, key string) (bool, error) {
	c, err := r.guard.Claim(ctx, []byte(key))
	switch {
	case c.Verdict == dedup.Duplicate:
		return true, nil
	case err != nil:
		return false, fmt.Errorf("watermill: %w", err)
	case c.Verdict == dedup.Fresh:
		if err := r.guard.Commit(ctx, c); err != nil {
			return false, fmt.Errorf("watermill: marking a key: %w", err)
		}
		return false, nil
	}
	return false, fmt.Errorf("watermill: the key is %v", c.Verdict)
}
