package mysqlstore

import (
	"bytes"
	"database/sql"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

// NewListener makes a store that keeps its keys in the table of
// RocketMQDedupListener, so that Java and Go consumers share one memory while a
// team migrates. Keys come from ListenerKey. Table is t_rocketmq_dedup by
// default, Window 24 hours and Lease one minute, as in Java.
//
// Rows and statuses are Java's: CONSUMING until the lease ends, CONSUMED for the
// window, expire_time in milliseconds since 1970. Migrate makes the table if there
// is none. It adds the column firstseen_token, which may be NULL and which Java's
// statements don't mention, and an index of expire_time. What is different from a
// store with a table of its own, and from Java:
//
//   - Between Go consumers a token ends a claim, as always. Java compares no owner:
//     its late failure deletes a Go consumer's row, claim or mark, and its late
//     success marks a Go consumer's claim, whose Commit then gives ErrLeaseLost. No
//     Go consumer can prevent that.
//   - expire_time is by the database's clock in Go and by the client's in Java. A
//     Java client whose clock is fast still steals live leases.
//   - Extend lengthens a lease beyond Java's 60 s, and Java honours it.
//   - The table's collation decides which keys are the same. With Java's utf8 table
//     ABC and abc are one key, and the second message is lost. A binary collation
//     (ALTER TABLE … CONVERT TO CHARACTER SET utf8 COLLATE utf8_bin) mends it for
//     both sides.
//   - A key that the columns can't hold is an invalid key in Go: a tag of more than
//     16 characters, other parts of more than 255, what is not valid UTF-8, and
//     characters beyond U+FFFF. Java runs the handler without a row.
//   - An empty message key is invalid in Go, and one shared key in Java.
//   - A batch is claimed and committed key by key, two statements each at most.
//   - Results are not kept: the Commit of a claim that has one gives
//     ErrResultTooLarge and marks the key; later claims of it don't say so again.
//   - Expired rows are swept, a Lease after their end, Java's too.
//   - A status that is neither CONSUMING nor CONSUMED is an error in Go. Java runs
//     the handler.
func NewListener(db *sql.DB, o Options) (*Store, error) {
	if o.Table == "" {
		o.Table = "t_rocketmq_dedup"
	}
	if o.Window == 0 {
		o.Window = 24 * time.Hour
	}
	o.MaxResult = -1
	s, err := sqlstore.New("mysqlstore", db, o, func(o Options) (sqlstore.Dialect, error) { return newListener(o), nil })
	if err != nil {
		return nil, err
	}
	return &Store{s}, nil
}

// ListenerKey returns the key of a message for a store that was made by
// NewListener. application is the name that the Java consumers are configured
// with; topic is the message's first one, not that of a retry.
func ListenerKey(application, topic, tag, key string) []byte {
	return []byte(strings.Join([]string{application, topic, tag, key}, "\x00"))
}

// Lengths of Java's columns in characters.
const (
	maxListenerTag  = 16
	maxListenerPart = 255
)

var (
	errListenerParts = errors.New("it was not made by ListenerKey")
	errListenerEmpty = errors.New("the message's own key is empty")
	errListenerLong  = errors.New("a part is longer than its column")
	errListenerText  = errors.New("a part is not text that the columns can hold")
)

// Key implements sqlstore.Dialect.
func (d *listener) Key(key []byte) (string, error) {
	parts := bytes.SplitN(key, []byte{0}, 4)
	if len(parts) != 4 {
		return "", errListenerParts
	}
	if len(parts[3]) == 0 {
		return "", errListenerEmpty
	}
	if !utf8.Valid(key) || bytes.ContainsFunc(key, func(r rune) bool { return r > 0xffff }) {
		return "", errListenerText
	}
	for i, part := range parts {
		most := maxListenerPart
		if i == 2 {
			most = maxListenerTag
		}
		if utf8.RuneCount(part) > most {
			return "", errListenerLong
		}
	}
	return string(key), nil
}
