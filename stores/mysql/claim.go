package mysqlstore

import (
	"context"
	"database/sql"
	"sort"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

const columns = "(`key`, token, state, valid_until, delete_after, result)"

// Claim implements sqlstore.Dialect with up to three statements: insert what is
// not there; where that was not everything, look who has the rest; take over
// what has ended. Rows that are left without an answer have changed in between.
// Rows that are already ours are recognised by their token.
func (d *dialect) Claim(ctx context.Context, q sqlstore.Querier, r sqlstore.Request, items []*sqlstore.Item) error {
	valid, end := r.Lease, r.Lease+r.Window
	if r.Mark {
		valid, end = r.Window, r.Window
	}
	// IGNORE counts the inserted rows only, also with the driver's option
	// clientFoundRows. What else it would ignore, such as a value that is too
	// long, can't be here.
	t := newText(160*len(items)).add("INSERT IGNORE INTO ", d.table, columns, " VALUES ")
	n, err := affected(ctx, q, rows(t, items, after(valid), after(end)))
	if err != nil {
		return err
	}
	fresh := sqlstore.Answer{Verdict: dedup.Fresh, Left: valid}
	if n == len(items) {
		answerAll(items, fresh)
		return nil
	}
	ended, err := d.look(ctx, q, r.InTx, items)
	if err != nil || len(ended) == 0 {
		return err
	}
	// The assignments are made in this order, and each sees the ones before it.
	t = newText(160*len(ended)).add("INSERT INTO ", d.table, columns, " VALUES ")
	rows(t, ended, after(valid), after(end)).add(" ON DUPLICATE KEY UPDATE" +
		" token = IF(valid_until <= " + now + ", VALUES(token), token)," +
		" state = IF(token = VALUES(token), VALUES(state), state)," +
		" result = IF(token = VALUES(token), VALUES(result), result)," +
		" delete_after = IF(token = VALUES(token), VALUES(delete_after), delete_after)," +
		" valid_until = IF(token = VALUES(token), VALUES(valid_until), valid_until)")
	// A row that was updated counts as two, one that was inserted or left alone as
	// one or none. So twice their number means that all were updated.
	if n, err = affected(ctx, q, t); err == nil && n == 2*len(ended) {
		answerAll(ended, fresh)
	}
	return err
}

func rows(t *text, items []*sqlstore.Item, valid, end string) *text {
	for i, it := range items {
		if i > 0 {
			t.add(",")
		}
		t.add("(").bytes([]byte(it.Key)).add(",").bytes(it.Token[:]).add(",").int(it.State)
		t.add(",", valid, ",", end, ",").null(it.Result).add(")")
	}
	return t
}

func answerAll(items []*sqlstore.Item, a sqlstore.Answer) {
	for _, it := range items {
		it.Answer = a
	}
}

// look answers the items whose rows decide, and returns those whose rows have
// ended.
func (d *dialect) look(ctx context.Context, q sqlstore.Querier, inTx bool, items []*sqlstore.Item) (ended []*sqlstore.Item, err error) {
	t := newText(64*len(items)).add("SELECT `key`, token, state, TIMESTAMPDIFF(MICROSECOND, ", now, ", valid_until), result FROM ", d.table, " WHERE ")
	whereKeys(t, items).add(locking(inTx))
	rows, err := q.QueryContext(ctx, t.String())
	err = sqlstore.Collect(rows, err, func(rows *sql.Rows) error {
		var key, token, result sql.RawBytes
		var state int
		var left int64
		if err := rows.Scan(&key, &token, &state, &left, &result); err != nil {
			return err
		}
		it := find(items, key)
		switch {
		case it == nil:
			return errUnasked(key)
		case left <= 0: // also where it is ours, and the lease has ended meanwhile
			ended = append(ended, it)
		case string(token) == string(it.Token[:]):
			it.Answer = sqlstore.Answer{Verdict: dedup.Fresh, Left: time.Duration(left) * time.Microsecond}
		default:
			it.Answer = sqlstore.Answer{Verdict: dedup.Duplicate, State: state, Left: time.Duration(left) * time.Microsecond}
			if state == sqlstore.Claimed {
				it.Answer.Verdict = dedup.InFlight
			}
			if len(result) > 0 {
				it.Answer.Result = append([]byte(nil), result...)
			}
		}
		return nil
	})
	sort.Slice(ended, func(i, j int) bool { return ended[i].Key < ended[j].Key })
	return ended, err
}

func whereKeys(t *text, items []*sqlstore.Item) *text {
	return t.in("`key`", len(items), func(i int) []byte { return []byte(items[i].Key) })
}

// locking makes a read of the caller's transaction see what its writes have met:
// at REPEATABLE READ it would see the time of the transaction's first read.
func locking(inTx bool) string {
	if inTx {
		return " LOCK IN SHARE MODE"
	}
	return ""
}

// find returns the item of a key. Items are in order.
func find(items []*sqlstore.Item, key []byte) *sqlstore.Item {
	i := sort.Search(len(items), func(i int) bool { return items[i].Key >= string(key) })
	if i < len(items) && items[i].Key == string(key) {
		return items[i]
	}
	return nil
}
