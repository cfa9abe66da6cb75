package sqltest

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

// Own checks what the stores have besides dedup.Guard.
func (g Target) Own(t *testing.T) {
	t.Run("Options", g.options)
	t.Run("Migrate", g.migrate)
	t.Run("Window", g.window)
	t.Run("Hole09NothingPurges", g.sweep)
	t.Run("Unguarded", g.unguarded)
	t.Run("NoResults", g.noResults)
	t.Run("Serializable", g.serializable)
	t.Run("Closed", g.closed)
}

func (g Target) options(t *testing.T) {
	db := g.open(t, "127.0.0.1:1")
	_, _, err := g.New(db, sqlstore.Options{Lease: -1, Table: "a; DROP TABLE b", SweepChunk: -1, SweepEvery: -1})
	for _, part := range []string{"Window", "Lease", "Table", "SweepChunk"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("bad options give %v, want a word about %s", err, part)
		}
	}
	if _, _, err := g.New(nil, sqlstore.Options{Window: time.Hour}); err == nil {
		t.Error("a store without a *sql.DB")
	}
}

// migrate: never unasked, any number of processes at once, any number of times,
// and never over a newer version.
func (g Target) migrate(t *testing.T) {
	db := g.open(t, g.Addr(servertest.Shared(t, g.Kind)))
	s, _ := g.store(t, db, sqlstore.Options{Table: newTable()})
	if _, err := s.Claim(ctx, []byte("k")); err == nil {
		t.Fatal("a claim without a table")
	}
	if err := s.Ping(ctx); err == nil || !strings.Contains(err.Error(), "Migrate") {
		t.Fatalf("Ping without a table: %v", err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := s.Migrate(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	must(t, s.Ping(ctx))
	c := verdict(t, s, "k", dedup.Fresh)
	must(t, s.Migrate(ctx))
	must(t, s.Commit(ctx, c))
	execute(t, db, "UPDATE firstseen_schema SET version = version + 1000")
	err := s.Migrate(ctx)
	execute(t, db, "UPDATE firstseen_schema SET version = version - 1000")
	if !errors.Is(err, dedup.ErrIncompatible) {
		t.Fatalf("Migrate of a newer table: %v", err)
	}
}

// window: a mark is kept for the window from its commit, and not for ever.
func (g Target) window(t *testing.T) {
	const window = 300 * time.Millisecond
	s, _ := g.fresh(t, sqlstore.Options{Window: window, Lease: time.Minute})
	c := verdict(t, s, "k", dedup.Fresh)
	from := time.Now()
	must(t, s.Commit(ctx, c))
	for {
		asked := time.Now()
		c, err := s.Claim(ctx, []byte("k"))
		must(t, err)
		if c.Verdict == dedup.Fresh {
			if lasted := time.Since(from); lasted < window {
				t.Fatalf("a mark was kept for %v at most, want %v", lasted, window)
			}
			break
		}
		if c.Verdict != dedup.Duplicate || c.Expires.Before(asked) || c.Expires.After(time.Now().Add(window)) {
			t.Fatalf("after %v: %v until %v", asked.Sub(from), c.Verdict, c.Expires.Sub(asked))
		}
		if asked.Sub(from) > 30*time.Second {
			t.Fatal("a mark is kept for ever")
		}
	}
	ok, err := s.Contains(ctx, []byte("k"))
	if err != nil || ok {
		t.Fatalf("a claimed key is contained: %v, %v", ok, err)
	}
}

// sweep: what has ended goes, in the hands of one process, and nothing else.
func (g Target) sweep(t *testing.T) {
	const n = 2000
	table := newTable()
	o := sqlstore.Options{Window: time.Millisecond, Lease: time.Millisecond, SweepChunk: 100, Table: table}
	s, db := g.fresh(t, o)
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = fmt.Append(nil, "k", i)
	}
	cs, err := s.ClaimBatch(ctx, nil, keys)
	must(t, err)
	must(t, s.Commit(ctx, cs...))
	o.Window, o.Lease, o.Table = time.Hour, time.Minute, table
	long, _ := g.store(t, db, o)
	must(t, long.Commit(ctx, verdict(t, long, "marked", dedup.Fresh)))
	verdict(t, long, "held", dedup.Fresh)

	var deleted, sweepers atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		other, _ := g.store(t, db, o)
		all.Go(func() {
			for range 200 {
				swept, err := other.Sweep(ctx)
				if err != nil {
					t.Error(err)
				}
				if deleted.Add(int64(swept)); swept > 0 {
					sweepers.Add(1)
				}
				if deleted.Load() == n {
					return
				}
			}
		})
	}
	all.Wait()
	if deleted.Load() != n || sweepers.Load() > 2 {
		t.Errorf("%d sweepers deleted %d rows, want one or two and %d", sweepers.Load(), deleted.Load(), n)
	}
	if left := count(t, db, "SELECT count(*) FROM "+table); left != 2 {
		t.Errorf("%d rows are left, want 2", left)
	}
	verdict(t, long, "marked", dedup.Duplicate)
	verdict(t, long, "held", dedup.InFlight)
}

// unguarded: a commit of a claim that a policy let through tries to mark its key.
func (g Target) unguarded(t *testing.T) {
	s, _ := g.fresh(t, sqlstore.Options{})
	let := func(key string) dedup.Claim {
		return dedup.Claim{Key: []byte(key), Verdict: dedup.Fresh, Unguarded: true, Result: []byte("r")}
	}
	held := verdict(t, s, "held", dedup.Fresh)
	must(t, s.Commit(ctx, verdict(t, s, "marked", dedup.Fresh)))
	err := s.Commit(ctx, let("new"), let("held"), let("marked"))
	if at := dedup.IndexesOf(err, dedup.ErrLeaseLost); len(at) != 1 || at[0] != 1 {
		t.Fatalf("Commit of unguarded claims: %v", err)
	}
	if c := verdict(t, s, "new", dedup.Duplicate); string(c.Result) != "r" {
		t.Errorf("the result of an unguarded claim is %q", c.Result)
	}
	must(t, s.Release(ctx, let("held")))
	must(t, s.Commit(ctx, held))
}

func (g Target) noResults(t *testing.T) {
	s, _ := g.fresh(t, sqlstore.Options{MaxResult: -1})
	c := verdict(t, s, "k", dedup.Fresh)
	c.Result = []byte("r")
	if err := s.Commit(ctx, c); !errors.Is(err, dedup.ErrResultTooLarge) {
		t.Fatalf("Commit with a result that is not kept: %v", err)
	}
	if c, err := s.Claim(ctx, []byte("k")); c.Verdict != dedup.Duplicate || !errors.Is(err, dedup.ErrResultTooLarge) {
		t.Fatalf("then: %v, %v", c.Verdict, err)
	}
}

// serializable: calls work at the strictest isolation level too, and of many who
// claim the same keys in another order each key has one winner.
func (g Target) serializable(t *testing.T) {
	addr := g.Addr(servertest.Shared(t, g.Kind))
	var dbs []*sql.DB
	for _, open := range []func(string) (*sql.DB, error){g.Open, g.OpenSerializable} {
		db, err := open(addr)
		must(t, err)
		t.Cleanup(func() { _ = db.Close() })
		dbs = append(dbs, db)
	}
	table := newTable()
	o := sqlstore.Options{Table: table, Lease: 30 * time.Second}
	s, _ := g.store(t, dbs[0], o)
	must(t, s.Migrate(ctx))
	const callers, keys, rounds = 8, 40, 6
	var fresh [rounds * keys]atomic.Int32
	var all sync.WaitGroup
	for i := range callers {
		mine, _ := g.store(t, dbs[i%2], o)
		all.Go(func() {
			for round := range rounds {
				batch := make([][]byte, keys)
				for j := range batch {
					batch[j] = fmt.Append(nil, "k", round*keys+(j*7+i*11)%keys)
				}
				cs, err := mine.ClaimBatch(ctx, nil, batch)
				if err != nil {
					t.Error(err)
				}
				for j, c := range cs {
					if c.Verdict == dedup.Fresh {
						fresh[round*keys+(j*7+i*11)%keys].Add(1)
					}
				}
				if err := mine.Commit(ctx, cs...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i := range fresh {
		if n := fresh[i].Load(); n != 1 {
			t.Errorf("key %d was fresh %d times", i, n)
		}
	}
}

func (g Target) closed(t *testing.T) {
	s, _ := g.fresh(t, sqlstore.Options{SweepEvery: time.Hour})
	c := verdict(t, s, "k", dedup.Fresh)
	must(t, s.Close())
	must(t, s.Close())
	_, claim := s.Claim(ctx, []byte("l"))
	_, extend := s.Extend(ctx, c, 0)
	_, contains := s.Contains(ctx, []byte("l"))
	for doing, err := range map[string]error{
		"Claim": claim, "Extend": extend, "Contains": contains, "Commit": s.Commit(ctx, c), "Release": s.Release(ctx, c),
		"Forget": s.Forget(ctx, []byte("l")), "Ping": s.Ping(ctx),
	} {
		if !errors.Is(err, dedup.ErrClosed) {
			t.Errorf("%s after Close: %v", doing, err)
		}
	}
}
