package sqltest

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

// Sweep measures what a claim takes while expired rows are swept and while not,
// in turn, and logs both. fill is a statement that fills the table %[1]s with
// %[2]d rows whose time has ended.
func (g Target) Sweep(t *testing.T, rows int, fill string, args ...string) {
	server := servertest.Start(t, g.Kind, args...)
	db := g.open(t, g.Addr(server))
	o := sqlstore.Options{Table: "swept", Window: time.Hour}
	s, _ := g.store(t, db, o)
	must(t, s.Migrate(ctx))
	execute(t, db, fmt.Sprintf(fill, o.Table, rows))
	t.Logf("%d expired rows", count(t, db, "SELECT count(*) FROM swept"))
	const round = 10 * time.Second
	var quiet, busy []time.Duration
	swept := 0
	claims(t, s, round/2) // warm
	for range 3 {
		quiet = append(quiet, claims(t, s, round)...)
		sweeping, stop := context.WithCancel(ctx)
		var sweeper sync.WaitGroup
		sweeper.Go(func() {
			n, err := s.Sweep(sweeping)
			if err != nil && sweeping.Err() == nil {
				t.Error(err)
			}
			swept += n
		})
		busy = append(busy, claims(t, s, round)...)
		stop()
		sweeper.Wait()
	}
	if swept == 0 {
		t.Error("nothing was swept")
	}
	t.Logf("%d rows swept in %v", swept, 3*round)
	t.Logf("claim: quiet p50 %v p99 %v p99.9 %v of %d; swept p50 %v p99 %v p99.9 %v of %d",
		quantile(quiet, 0.5), quantile(quiet, 0.99), quantile(quiet, 0.999), len(quiet),
		quantile(busy, 0.5), quantile(busy, 0.99), quantile(busy, 0.999), len(busy))
}

// claims has four clients claim keys for d, and returns how long each claim took.
func claims(t *testing.T, s Store, d time.Duration) []time.Duration {
	var mu sync.Mutex
	var all []time.Duration
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			var mine []time.Duration
			for end := time.Now().Add(d); time.Now().Before(end); {
				start := time.Now()
				c, err := s.Claim(ctx, randomKey())
				mine = append(mine, time.Since(start))
				if err != nil || c.Verdict != dedup.Fresh {
					t.Errorf("a new key is %v, %v", c.Verdict, err)
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	clients.Wait()
	return all
}

func quantile(ds []time.Duration, q float64) time.Duration {
	slices.Sort(ds)
	if len(ds) == 0 {
		return 0
	}
	return ds[int(q*float64(len(ds)-1))].Round(10 * time.Microsecond)
}

func randomKey() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, rand.Uint64()), rand.Uint64())
}

// BenchBatch compares claims of 1,000 new keys with a plain insert of as many
// rows into the same table, in turn. plain writes such an insert for n rows with
// two parameters each, key and token.
func (g Target) BenchBatch(b *testing.B, db *sql.DB, plain func(table string, n int) string) {
	const n = 1000
	table := newTable()
	s, _ := g.store(b, db, sqlstore.Options{Table: table})
	must(b, s.Migrate(ctx))
	query := plain(table, n)
	token := make([]byte, 16)
	keys, args := make([][]byte, n), make([]any, 0, 2*n)
	var cs []dedup.Claim
	var claims, inserts, commits time.Duration
	for b.Loop() {
		for i := range keys {
			keys[i] = randomKey()
		}
		start := time.Now()
		var err error
		cs, err = s.ClaimBatch(ctx, cs[:0], keys)
		claims += time.Since(start)
		must(b, err)
		for _, c := range cs {
			if c.Verdict != dedup.Fresh {
				b.Fatalf("a new key is %v", c.Verdict)
			}
		}
		start = time.Now()
		must(b, s.Commit(ctx, cs...))
		commits += time.Since(start)
		args = args[:0]
		for range n {
			args = append(args, randomKey(), token)
		}
		start = time.Now()
		_, err = db.ExecContext(ctx, query, args...)
		inserts += time.Since(start)
		must(b, err)
	}
	rate := func(d time.Duration) float64 { return float64(b.N*n) / d.Seconds() }
	b.ReportMetric(rate(claims), "claims/s")
	b.ReportMetric(rate(inserts), "inserts/s")
	b.ReportMetric(rate(commits), "commits/s")
	b.ReportMetric(rate(claims)/rate(inserts), "claims/insert")
}
