package mysqlstore

import (
	"strings"
	"testing"
)

// TestLists: a list is cut before MariaDB makes a subquery of it, and no byte of
// a key can end its literal.
func TestLists(t *testing.T) {
	list := newText(0).in("k", listMost+1, func(int) []byte { return []byte("'\\\x00") }).String()
	if want := "(k IN (" + strings.Repeat("x'275c00',", listMost); !strings.HasPrefix(list, want[:len(want)-1]+") OR k IN (x'275c00'))") {
		t.Errorf("%d keys become %.60s…", listMost+1, list)
	}
}
