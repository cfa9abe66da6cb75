package sqlretry

import (
	"errors"
	"regexp"
)

// PostgreSQL says whether an error is a serialization failure or a deadlock.
func PostgreSQL(err error) bool { return HasState(err, "40001") || HasState(err, "40P01") }

// HasState looks for an SQLSTATE. The errors of pgx and pq tell it by this method.
func HasState(err error, state string) bool {
	var e interface {
		error
		SQLState() string
	}
	return errors.As(err, &e) && e.SQLState() == state
}

// MySQL says whether an error is a deadlock, a lock timeout, or MariaDB's "record
// has changed since last read".
func MySQL(err error) bool {
	switch ErrorNumber(err) {
	case "1213", "1205", "1020":
		return true
	}
	return false
}

var numbered = regexp.MustCompile(`^Error (\d+)[ :]`)

// ErrorNumber returns MySQL's error number, or "". The driver's error has a field
// for it, but no method; its text begins with it.
func ErrorNumber(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		if m := numbered.FindStringSubmatch(err.Error()); m != nil {
			return m[1]
		}
	}
	return ""
}
