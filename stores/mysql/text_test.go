package mysqlstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestErrorNumber(t *testing.T) {
	f := func(err error, want string) {
		t.Helper()
		if got := errorNumber(err); got != want {
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

// TestLists: a list is cut before MariaDB makes a subquery of it, and no byte of
// a key can end its literal.
func TestLists(t *testing.T) {
	list := newText(0).in("k", listMost+1, func(int) []byte { return []byte("'\\\x00") }).String()
	if want := "(k IN (" + strings.Repeat("x'275c00',", listMost); !strings.HasPrefix(list, want[:len(want)-1]+") OR k IN (x'275c00'))") {
		t.Errorf("%d keys become %.60s…", listMost+1, list)
	}
}
