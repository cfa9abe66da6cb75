package pgstore_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/stores/internal/sqltest"
)

// TestSweepLatency: its figures are logged, and nothing is demanded of them.
func TestSweepLatency(t *testing.T) {
	if !sqltest.Long() {
		t.Skip("FIRSTSEEN_SERVERS is not long")
	}
	target.Sweep(t, 10_000_000, `INSERT INTO %s (key, token, state, valid_until, delete_after)
		SELECT sha256(int8send(n)), '\x00', 1, now() - interval '1 day', now() - interval '1 day' + n * interval '1 ms'
		FROM generate_series(1, %d) AS n`)
}

// BenchmarkBatch1000 compares claims with a plain multi-row insert.
func BenchmarkBatch1000(b *testing.B) {
	db, err := target.Open(target.Addr(servertest.Shared(b, target.Kind)))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	target.BenchBatch(b, db, func(table string, n int) string {
		rows := make([]string, n)
		for i := range rows {
			rows[i] = fmt.Sprintf("($%d,$%d,0,now()+interval '1 minute',now()+interval '1 hour')", 2*i+1, 2*i+2)
		}
		return "INSERT INTO " + table + " (key, token, state, valid_until, delete_after) VALUES " + strings.Join(rows, ",") +
			" ON CONFLICT DO NOTHING"
	})
}
