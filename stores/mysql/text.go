package mysqlstore

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// A text is a statement that is being written. Bytes stand in it in hexadecimal,
// so that no key can end a literal, whatever the session's SQL mode is.
type text struct{ b []byte }

func newText(size int) *text { return &text{make([]byte, 0, size)} }

func (t *text) add(parts ...string) *text {
	for _, p := range parts {
		t.b = append(t.b, p...)
	}
	return t
}

func (t *text) bytes(b []byte) *text {
	t.b = append(t.b, "x'"...)
	t.b = hex.AppendEncode(t.b, b)
	t.b = append(t.b, '\'')
	return t
}

// null writes NULL for no bytes.
func (t *text) null(b []byte) *text {
	if len(b) == 0 {
		return t.add("NULL")
	}
	return t.bytes(b)
}

func (t *text) int(n int) *text {
	t.b = strconv.AppendInt(t.b, int64(n), 10)
	return t
}

// listMost keeps lists below the length from which MariaDB turns them into
// subqueries (in_predicate_conversion_threshold).
const listMost = 500

// in writes a condition that what is one of n byte strings.
func (t *text) in(what string, n int, each func(i int) []byte) *text {
	t.add("(")
	for i := range n {
		switch {
		case i == 0:
			t.add(what, " IN (")
		case i%listMost == 0:
			t.add(") OR ", what, " IN (")
		default:
			t.add(",")
		}
		t.bytes(each(i))
	}
	return t.add("))")
}

func (t *text) String() string { return string(t.b) }

// now is the time at which a statement began. UTC_TIMESTAMP depends neither on
// the session's time zone nor on summer time.
const now = "UTC_TIMESTAMP(6)"

func after(d time.Duration) string {
	return "(" + now + " + INTERVAL " + strconv.FormatInt(d.Microseconds(), 10) + " MICROSECOND)"
}

func quote(table string) string { return "`" + strings.ReplaceAll(table, ".", "`.`") + "`" }
