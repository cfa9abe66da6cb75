package mysqlstore_test

import (
	"database/sql"
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
	target.Sweep(t, 10_000_000, "INSERT INTO %s (`key`, token, state, valid_until, delete_after)"+
		" SELECT UNHEX(MD5(seq)), x'', 1, UTC_TIMESTAMP(6) - INTERVAL 1 DAY, UTC_TIMESTAMP(6) - INTERVAL 1 DAY + INTERVAL seq MICROSECOND"+
		" FROM seq_1_to_%d ORDER BY 1", "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M")
}

// BenchmarkBatch1000 compares claims with a plain multi-row insert, whose
// parameters the driver interpolates: otherwise it would take two round trips.
func BenchmarkBatch1000(b *testing.B) {
	addr := target.Addr(servertest.Shared(b, target.Kind))
	db, err := sql.Open("mysql", "firstseen:firstseen@tcp("+addr+")/firstseen?interpolateParams=true")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	target.BenchBatch(b, db, func(table string, n int) string {
		row := "(?,?,0,UTC_TIMESTAMP(6)+INTERVAL 60000000 MICROSECOND,UTC_TIMESTAMP(6)+INTERVAL 3600000000 MICROSECOND),"
		return "INSERT IGNORE INTO " + table + " (`key`, token, state, valid_until, delete_after) VALUES " +
			strings.TrimSuffix(strings.Repeat(row, n), ",")
	})
}
