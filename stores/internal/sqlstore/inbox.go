package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/firstseen/firstseen/dedup"
)

var errNoTx = errors.New("the *sql.Tx is nil")

// CommitTx is Commit in the caller's transaction: the marks become visible and
// durable with it or not at all. After an error, also one that names a claim,
// roll the transaction back. After a rollback the claims are held as before, so
// release them, or let their leases end.
func (s *Store) CommitTx(ctx context.Context, tx *sql.Tx, claims ...dedup.Claim) error {
	if tx == nil {
		return s.fail("commit", errNoTx)
	}
	return s.commit(ctx, tx, true, claims)
}

// AdmitTx marks keys in the caller's transaction, and returns one verdict for
// each. Fresh keys are marked once the transaction commits, and are fresh again
// if it is rolled back. A key that comes twice is Fresh once and Duplicate then.
//
// Until the transaction ends, other calls for its fresh keys wait for it, so keep
// it short. After an error other than a *KeyError, roll it back.
func (s *Store) AdmitTx(ctx context.Context, tx *sql.Tx, keys ...[]byte) ([]dedup.Verdict, error) {
	vs := make([]dedup.Verdict, len(keys))
	if tx == nil {
		return vs, s.fail("admit", errNoTx)
	}
	r := Request{Nonce: newNonce(), Window: s.opts.Window, Mark: true, InTx: true}
	set, errs := newKeySet(s.dialect, keys, r.Nonce)
	for _, it := range set.items {
		it.State = Marked
	}
	if err := s.claim(ctx, tx, r, set.items); err != nil {
		return vs, join(append(errs, s.fail("admit", err)))
	}
	for i := range keys {
		if set.of[i] < 0 {
			continue
		}
		it := set.items[set.of[i]]
		vs[i] = it.Answer.Verdict
		if vs[i] == dedup.Fresh {
			if it.At != i {
				vs[i] = dedup.Duplicate
				continue
			}
			s.stats.admitted.Add(1)
		}
	}
	return vs, join(errs)
}
