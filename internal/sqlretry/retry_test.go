package sqlretry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/firstseen/firstseen/internal/sqlretry"
)

// TestErrors: what the drivers really return is known.
func TestErrors(t *testing.T) {
	f := func(err error, again func(error) bool, want bool) {
		t.Helper()
		for _, err := range []error{err, fmt.Errorf("wrapped: %w", err)} {
			if got := again(err); got != want {
				t.Errorf("%v: %v", err, got)
			}
		}
	}
	f(&pgconn.PgError{Code: "40001"}, sqlretry.PostgreSQL, true)
	f(&pgconn.PgError{Code: "40P01"}, sqlretry.PostgreSQL, true)
	f(&pgconn.PgError{Code: "23505"}, sqlretry.PostgreSQL, false)
	f(&mysql.MySQLError{Number: 1213, SQLState: [5]byte{'4', '0', '0', '0', '1'}}, sqlretry.MySQL, true)
	f(&mysql.MySQLError{Number: 1205}, sqlretry.MySQL, true)
	f(&mysql.MySQLError{Number: 1020}, sqlretry.MySQL, true)
	f(&mysql.MySQLError{Number: 1062}, sqlretry.MySQL, false)
	f(errors.New("bad connection"), sqlretry.MySQL, false)
}

// TestDo: what asks for it is repeated, twenty times at most and as long as the
// context lives; nothing else is.
func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost, other := errors.New("deadlock"), errors.New("gone")
		again := func(err error) bool { return errors.Is(err, lost) }
		f := func(ctx context.Context, wantCalls int, want error, results ...error) {
			t.Helper()
			calls, repeated := 0, 0
			err := sqlretry.Do(ctx, again, func() { repeated++ }, func() error {
				calls++
				return results[min(calls, len(results))-1]
			})
			if calls != wantCalls || !errors.Is(err, want) {
				t.Errorf("%d calls, %v; want %d, %v", calls, err, wantCalls, want)
			}
			if want == nil && repeated != calls-1 {
				t.Errorf("told of %d repetitions of %d", repeated, calls-1)
			}
			if calls == 20 && !strings.Contains(err.Error(), "20 tries") {
				t.Error(err)
			}
		}
		f(t.Context(), 1, nil, nil)
		f(t.Context(), 3, nil, lost, lost, nil)
		f(t.Context(), 2, other, lost, other)
		f(t.Context(), 20, lost, lost)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		f(ended, 1, context.Canceled, lost)
	})
}

// TestErrorNumber: the number stands at the beginning of an error of the chain, and
// nowhere else.
func TestErrorNumber(t *testing.T) {
	f := func(err error, want string) {
		t.Helper()
		if got := sqlretry.ErrorNumber(err); got != want {
			t.Errorf("the number of %q is %q, want %q", err, got, want)
		}
	}
	f(errors.New("Error 1213 (40001): Deadlock found"), "1213")
	f(errors.New("Error 1205: Lock wait timeout exceeded"), "1205")
	f(fmt.Errorf("store: claim: %w", errors.New("Error 1146 (42S02): no table")), "1146")
	f(errors.New("Error 1062 (23000): Duplicate entry 'Error 1213 (40001): x'"), "1062")
	f(errors.New("Duplicate entry 'Error 1213 (40001): x'"), "")
	f(nil, "")
}
