package mysqlstore

import (
	"context"
	"database/sql"

	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

// Commit implements sqlstore.Dialect with one statement. Where that has not found
// all claims, a second one looks which rows have the token of this call's marks.
func (d *dialect) Commit(ctx context.Context, q sqlstore.Querier, r sqlstore.Request, items []*sqlstore.Item) error {
	return d.end(ctx, q, r, items, "t.state = u.s, t.result = u.r, t.valid_until = "+after(r.Window)+
		", t.delete_after = GREATEST(t.delete_after, "+after(r.Window)+")")
}

// Release implements sqlstore.Dialect. Deleted rows can't be asked whose they
// were. So their leases end first, which frees the keys, and then what has the
// token of this call is deleted: two statements, three where claims are lost.
func (d *dialect) Release(ctx context.Context, q sqlstore.Querier, r sqlstore.Request, items []*sqlstore.Item) error {
	if err := d.end(ctx, q, r, items, "t.valid_until = "+now); err != nil {
		return err
	}
	mark := r.Nonce.Mark()
	t := newText(64*len(items)).add("DELETE FROM ", d.table, " WHERE ")
	whereKeys(t, items).add(" AND token = ").bytes(mark[:])
	_, err := affected(ctx, q, t)
	return err
}

// end writes this call's token and what else set says to the rows of the claims
// that are held, and sets Held. Repeated, it finds what it has done before.
func (d *dialect) end(ctx context.Context, q sqlstore.Querier, r sqlstore.Request, items []*sqlstore.Item, set string) error {
	mark := r.Nonce.Mark()
	t := newText(96*len(items)).add("UPDATE ", d.table, " AS t JOIN (")
	for i, it := range items {
		if i == 0 {
			t.add("SELECT ").bytes([]byte(it.Key)).add(" AS k,").bytes(it.Token[:]).add(" AS o,").int(it.State).add(" AS s,").null(it.Result).add(" AS r")
			continue
		}
		t.add(" UNION ALL SELECT ").bytes([]byte(it.Key)).add(",").bytes(it.Token[:]).add(",").int(it.State).add(",").null(it.Result)
	}
	t.add(") AS u ON t.`key` = u.k AND t.token = u.o SET t.token = ").bytes(mark[:]).add(", ", set, " WHERE t.state = 0")
	n, err := affected(ctx, q, t)
	if err != nil {
		return err
	}
	if n == len(items) {
		for _, it := range items {
			it.Answer.Held = true
		}
		return nil
	}
	t = newText(64*len(items)).add("SELECT `key` FROM ", d.table, " WHERE ")
	whereKeys(t, items).add(" AND token = ").bytes(mark[:]).add(locking(r.InTx))
	rows, err := q.QueryContext(ctx, t.String())
	return sqlstore.Collect(rows, err, func(rows *sql.Rows) error {
		var key sql.RawBytes
		if err := rows.Scan(&key); err != nil {
			return err
		}
		it := find(items, key)
		if it == nil {
			return errUnasked(key)
		}
		it.Answer.Held = true
		return nil
	})
}

// Extend implements sqlstore.Dialect.
func (d *dialect) Extend(ctx context.Context, q sqlstore.Querier, r sqlstore.Request, it *sqlstore.Item) error {
	t := newText(512).add("UPDATE ", d.table, " SET valid_until = ", after(r.Lease),
		", delete_after = GREATEST(delete_after, ", after(r.Lease+r.Window), ") WHERE state = 0 AND `key` = ").bytes([]byte(it.Key))
	t.add(" AND token = ").bytes(it.Token[:])
	n, err := affected(ctx, q, t)
	if err != nil || n > 0 {
		it.Answer.Held = n > 0
		return err
	}
	// No row, or one that has these times already: that counts as none.
	t = newText(512).add("SELECT 1 FROM ", d.table, " WHERE state = 0 AND `key` = ").bytes([]byte(it.Key))
	rows, err := q.QueryContext(ctx, t.add(" AND token = ").bytes(it.Token[:]).String())
	return sqlstore.Collect(rows, err, func(*sql.Rows) error { it.Answer.Held = true; return nil })
}

// Contains implements sqlstore.Dialect.
func (d *dialect) Contains(ctx context.Context, q sqlstore.Querier, key string) (found bool, err error) {
	t := newText(512).add("SELECT 1 FROM ", d.table, " WHERE state <> 0 AND valid_until > ", now, " AND `key` = ").bytes([]byte(key))
	rows, err := q.QueryContext(ctx, t.String())
	err = sqlstore.Collect(rows, err, func(*sql.Rows) error { found = true; return nil })
	return found, err
}

// Forget implements sqlstore.Dialect.
func (d *dialect) Forget(ctx context.Context, q sqlstore.Querier, key string) error {
	t := newText(512).add("DELETE FROM ", d.table, " WHERE state <> 0 AND `key` = ").bytes([]byte(key))
	_, err := affected(ctx, q, t)
	return err
}

// Sweep implements sqlstore.Dialect with two statements: finding the rows locks
// nothing, and deleting them by their keys locks no more than them.
func (d *dialect) Sweep(ctx context.Context, q sqlstore.Querier, from string, n int) (found, deleted int, next string, err error) {
	t := newText(256).add("SELECT `key`, CAST(delete_after AS CHAR) FROM ", d.table, " WHERE delete_after <= ", now)
	if from != "" {
		t.add(" AND delete_after >= '", from, "'")
	}
	var doomed []*sqlstore.Item
	rows, err := q.QueryContext(ctx, t.add(" ORDER BY delete_after LIMIT ").int(n).String())
	err = sqlstore.Collect(rows, err, func(rows *sql.Rows) error {
		it := new(sqlstore.Item)
		doomed = append(doomed, it)
		return rows.Scan(&it.Key, &next)
	})
	if err != nil || len(doomed) == 0 {
		return 0, 0, from, err
	}
	t = newText(64*len(doomed)).add("DELETE FROM ", d.table, " WHERE delete_after <= ", now, " AND ")
	deleted, err = affected(ctx, q, whereKeys(t, doomed))
	return len(doomed), deleted, next, err
}
