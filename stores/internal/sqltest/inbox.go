package sqltest

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

// Inbox checks marks in the caller's own transactions.
func (g Target) Inbox(t *testing.T) {
	t.Run("AdmitCommitted", func(t *testing.T) { g.admit(t, true) })
	t.Run("AdmitRolledBack", func(t *testing.T) { g.admit(t, false) })
	t.Run("AdmitMeetsClaims", g.admitMeetsClaims)
	t.Run("AdmitWaits", g.admitWaits)
	t.Run("CommitTx", g.commitTx)
	t.Run("CommitTxRolledBack", g.commitTxRolledBack)
	t.Run("CommitTxLost", g.commitTxLost)
	t.Run("NoTx", func(t *testing.T) {
		s, _ := g.fresh(t, sqlstore.Options{})
		if _, err := s.AdmitTx(ctx, nil, []byte("k")); err == nil {
			t.Error("AdmitTx without a transaction")
		}
		if err := s.CommitTx(ctx, nil); err == nil {
			t.Error("CommitTx without a transaction")
		}
	})
}

func begin(tb testing.TB, db *sql.DB) *sql.Tx {
	tb.Helper()
	tx, err := db.BeginTx(ctx, nil)
	must(tb, err)
	tb.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

func verdict(tb testing.TB, s Store, key string, want dedup.Verdict) dedup.Claim {
	tb.Helper()
	c, err := s.Claim(ctx, []byte(key))
	if err != nil || c.Verdict != want {
		tb.Fatalf("%q is %v (%v), want %v", key, c.Verdict, err, want)
	}
	return c
}

func wantVerdicts(tb testing.TB, vs []dedup.Verdict, want ...dedup.Verdict) {
	tb.Helper()
	if len(vs) != len(want) {
		tb.Fatalf("%d verdicts, want %d", len(vs), len(want))
	}
	for i := range vs {
		if vs[i] != want[i] {
			tb.Fatalf("the verdicts are %v, want %v", vs, want)
		}
	}
}

func (g Target) admit(t *testing.T, commits bool) {
	s, db := g.fresh(t, sqlstore.Options{})
	tx := begin(t, db)
	vs, err := s.AdmitTx(ctx, tx, []byte("b"), nil, []byte("a"), []byte("b"))
	if at := dedup.IndexesOf(err, dedup.ErrKeyInvalid); len(at) != 1 || at[0] != 1 {
		t.Fatalf("AdmitTx with an empty key: %v", err)
	}
	wantVerdicts(t, vs, dedup.Fresh, dedup.Unknown, dedup.Fresh, dedup.Duplicate)
	// The transaction sees its own marks.
	vs, err = s.AdmitTx(ctx, tx, []byte("a"), []byte("c"))
	must(t, err)
	wantVerdicts(t, vs, dedup.Duplicate, dedup.Fresh)
	want := dedup.Fresh
	if commits {
		must(t, tx.Commit())
		want = dedup.Duplicate
	} else {
		must(t, tx.Rollback())
	}
	for _, key := range []string{"a", "b", "c"} {
		verdict(t, s, key, want)
	}
}

func (g Target) admitMeetsClaims(t *testing.T) {
	s, db := g.fresh(t, sqlstore.Options{Lease: 20 * time.Millisecond})
	must(t, s.Commit(ctx, verdict(t, s, "marked", dedup.Fresh)))
	held, err := s.Extend(ctx, verdict(t, s, "held", dedup.Fresh), time.Hour)
	must(t, err)
	ended := verdict(t, s, "ended", dedup.Fresh)
	for contains := dedup.InFlight; contains == dedup.InFlight; {
		// The lease has ended once an admission in a transaction says so.
		tx := begin(t, db)
		vs, err := s.AdmitTx(ctx, tx, []byte("marked"), []byte("held"), []byte("ended"))
		must(t, err)
		contains = vs[2]
		wantVerdicts(t, vs[:2], dedup.Duplicate, dedup.InFlight)
		must(t, tx.Commit())
	}
	verdict(t, s, "ended", dedup.Duplicate)
	if err := s.Commit(ctx, ended); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Fatalf("commit of a claim whose key was admitted by another: %v", err)
	}
	must(t, s.Commit(ctx, held))
}

// admitWaits: who asks for a key that an open transaction has marked gets the
// answer when that transaction has ended, and the right one.
func (g Target) admitWaits(t *testing.T) {
	for _, commits := range []bool{true, false} {
		s, db := g.fresh(t, sqlstore.Options{})
		tx := begin(t, db)
		vs, err := s.AdmitTx(ctx, tx, []byte("k"))
		must(t, err)
		wantVerdicts(t, vs, dedup.Fresh)

		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		if c, err := s.Claim(short, []byte("k")); err == nil {
			t.Fatalf("a key that an open transaction marks is %v", c.Verdict)
		}
		cancel()
		type answer struct {
			c   dedup.Claim
			err error
		}
		answers := make(chan answer)
		go func() {
			c, err := s.Claim(ctx, []byte("k"))
			answers <- answer{c, err}
		}()
		want := dedup.Duplicate
		if commits {
			must(t, tx.Commit())
		} else {
			must(t, tx.Rollback())
			want = dedup.Fresh
		}
		a := <-answers
		if a.err != nil {
			t.Fatal(a.err)
		}
		// The claim that was given up for its time may have reached the server all
		// the same.
		if a.c.Verdict != want && (commits || a.c.Verdict != dedup.InFlight) {
			t.Fatalf("committed %v: the key is %v, want %v", commits, a.c.Verdict, want)
		}
	}
}

func (g Target) commitTx(t *testing.T) {
	s, db := g.fresh(t, sqlstore.Options{MaxResult: 10})
	c, big := verdict(t, s, "k", dedup.Fresh), verdict(t, s, "big", dedup.Fresh)
	c.Result, big.Result = []byte("answer"), make([]byte, 11)
	tx := begin(t, db)
	err := s.CommitTx(ctx, tx, c, big)
	if at := dedup.IndexesOf(err, dedup.ErrResultTooLarge); len(at) != 1 || at[0] != 1 {
		t.Fatalf("CommitTx with a large result: %v", err)
	}
	must(t, tx.Commit())
	if d := verdict(t, s, "k", dedup.Duplicate); string(d.Result) != "answer" {
		t.Fatalf("the result is %q", d.Result)
	}
}

func (g Target) commitTxRolledBack(t *testing.T) {
	s, db := g.fresh(t, sqlstore.Options{})
	c := verdict(t, s, "k", dedup.Fresh)
	tx := begin(t, db)
	must(t, s.CommitTx(ctx, tx, c))
	must(t, tx.Rollback())
	verdict(t, s, "k", dedup.InFlight)
	must(t, s.Release(ctx, c))
	verdict(t, s, "k", dedup.Fresh)
}

func (g Target) commitTxLost(t *testing.T) {
	s, db := g.fresh(t, sqlstore.Options{})
	a, b := verdict(t, s, "a", dedup.Fresh), verdict(t, s, "b", dedup.Fresh)
	must(t, s.Release(ctx, b))
	tx := begin(t, db)
	err := s.CommitTx(ctx, tx, a, b)
	if at := dedup.IndexesOf(err, dedup.ErrLeaseLost); len(at) != 1 || at[0] != 1 {
		t.Fatalf("CommitTx of a lost claim: %v", err)
	}
	must(t, tx.Rollback())
	must(t, s.Commit(ctx, a))
}
