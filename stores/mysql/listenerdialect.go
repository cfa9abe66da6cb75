package mysqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/sqlretry"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

// A listener is RocketMQDedupListener's table.
type listener struct {
	name   string
	table  string // quoted
	grace  time.Duration
	schema sqlstore.Schema
}

const createListenerTable = `CREATE TABLE IF NOT EXISTS {table} (
	application_name varchar(255) NOT NULL,
	topic varchar(255) NOT NULL,
	tag varchar(16) NOT NULL,
	msg_uniq_key varchar(255) NOT NULL,
	status varchar(16) NOT NULL,
	expire_time bigint NOT NULL,
	UNIQUE KEY uniq_key (application_name, topic, tag, msg_uniq_key)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC`

const extendListenerTable = `ALTER TABLE {table} ADD COLUMN firstseen_token BINARY(16) NULL,
	ADD INDEX firstseen_expire_time (expire_time)`

func newListener(o Options) *listener {
	return &listener{
		name: o.Table, table: quote(o.Table), grace: o.Lease,
		schema: schemaOf(o.Table, [][]string{{createListenerTable, extendListenerTable}}),
	}
}

// nowMillis is the database's time as it stands in expire_time.
const nowMillis = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', " + now + ") DIV 1000)"

func millisAfter(d time.Duration) string {
	return fmt.Sprintf("(%s + %d)", nowMillis, d.Milliseconds())
}

const listenerColumns = "application_name, topic, tag, msg_uniq_key"

// statuses by state.
var statuses = [...]string{sqlstore.Claimed: "CONSUMING", sqlstore.Marked: "CONSUMED", sqlstore.TooLarge: "CONSUMED"}

// values writes the parts of a key as text, so that the columns' collation
// compares them.
func (t *text) values(key string, between string) *text {
	names := strings.Split(listenerColumns, ", ")
	for i, part := range strings.SplitN(listenerRow(key), "\x00", 4) {
		if i > 0 {
			t.add(between)
		}
		if between != "," {
			t.add(names[i], " = ")
		}
		t.add("_utf8mb4 ").bytes([]byte(part))
	}
	return t
}

// listenerRow is the key of a row: the sweeper's own is one that no message has.
func listenerRow(key string) string {
	if key == sqlstore.SweeperKey {
		return "firstseen\x00\x00\x00sweeper"
	}
	if key == "" {
		return "\x00\x00\x00"
	}
	return key
}

func (t *text) whereRow(key string) *text { return t.add(" WHERE ").values(key, " AND ") }

func (t *text) whereHeld(it *sqlstore.Item) *text {
	return t.whereRow(it.Key).add(" AND status = 'CONSUMING' AND firstseen_token = ").bytes(it.Token[:])
}

// MaxItems implements sqlstore.Dialect. The collation may take keys for the same
// whose bytes differ, so that answers for several could not be told apart.
func (d *listener) MaxItems() int { return 1 }

// Claim implements sqlstore.Dialect: insert the row, or take it over if it has
// ended; then look whose it is. Java deletes an ended row and inserts again.
func (d *listener) Claim(ctx context.Context, q sqlstore.Querier, r sqlstore.Request, items []*sqlstore.Item) error {
	it, valid := items[0], r.Lease
	if r.Mark {
		valid = r.Window
	}
	t := newText(1024).add("INSERT INTO ", d.table, " (", listenerColumns, ", status, expire_time, firstseen_token) VALUES (").values(it.Key, ",")
	t.add(",'", statuses[it.State], "',", millisAfter(valid), ",").bytes(it.Token[:])
	t.add(") ON DUPLICATE KEY UPDATE" +
		" firstseen_token = IF(expire_time < " + nowMillis + ", VALUES(firstseen_token), firstseen_token)," +
		" status = IF(firstseen_token <=> VALUES(firstseen_token), VALUES(status), status)," +
		" expire_time = IF(firstseen_token <=> VALUES(firstseen_token), VALUES(expire_time), expire_time)")
	if _, err := affected(ctx, q, t); err != nil {
		return err
	}
	t = newText(1024).add("SELECT status, expire_time - ", nowMillis, ", COALESCE(firstseen_token = ").bytes(it.Token[:])
	t.add(", 0) FROM ", d.table).whereRow(it.Key).add(locking(r.InTx))
	rows, err := q.QueryContext(ctx, t.String())
	return sqlstore.Collect(rows, err, func(rows *sql.Rows) error {
		var status string
		var left int64
		var ours bool
		if err := rows.Scan(&status, &left, &ours); err != nil {
			return err
		}
		a := sqlstore.Answer{Left: time.Duration(left) * time.Millisecond, State: sqlstore.Marked}
		switch {
		case left < 0:
			return nil // ended in between
		case ours:
			a.Verdict = dedup.Fresh
		case status == "CONSUMED":
			a.Verdict = dedup.Duplicate
		case status == "CONSUMING":
			a.Verdict = dedup.InFlight
		default:
			return fmt.Errorf("a row of %s has the status %q", d.name, status)
		}
		it.Answer = a
		return nil
	})
}

// Commit implements sqlstore.Dialect.
func (d *listener) Commit(ctx context.Context, q sqlstore.Querier, r sqlstore.Request, items []*sqlstore.Item) error {
	it, mark := items[0], r.Nonce.Mark()
	t := newText(1024).add("UPDATE ", d.table, " SET status = 'CONSUMED', expire_time = ", millisAfter(r.Window), ", firstseen_token = ").bytes(mark[:])
	n, err := affected(ctx, q, t.whereHeld(it))
	it.Answer.Held = n > 0
	return err
}

// Release implements sqlstore.Dialect.
func (d *listener) Release(ctx context.Context, q sqlstore.Querier, _ sqlstore.Request, items []*sqlstore.Item) error {
	n, err := affected(ctx, q, newText(1024).add("DELETE FROM ", d.table).whereHeld(items[0]))
	items[0].Answer.Held = n > 0
	return err
}

// Extend implements sqlstore.Dialect.
func (d *listener) Extend(ctx context.Context, q sqlstore.Querier, r sqlstore.Request, it *sqlstore.Item) error {
	n, err := affected(ctx, q, newText(1024).add("UPDATE ", d.table, " SET expire_time = ", millisAfter(r.Lease)).whereHeld(it))
	if err != nil || n > 0 {
		it.Answer.Held = n > 0
		return err
	}
	// No row, or one that has this time already: that counts as none.
	rows, err := q.QueryContext(ctx, newText(1024).add("SELECT 1 FROM ", d.table).whereHeld(it).String())
	return sqlstore.Collect(rows, err, func(*sql.Rows) error { it.Answer.Held = true; return nil })
}

// Contains implements sqlstore.Dialect.
func (d *listener) Contains(ctx context.Context, q sqlstore.Querier, key string) (found bool, err error) {
	t := newText(1024).add("SELECT 1 FROM ", d.table).whereRow(key).add(" AND status = 'CONSUMED' AND expire_time >= ", nowMillis)
	rows, err := q.QueryContext(ctx, t.String())
	err = sqlstore.Collect(rows, err, func(*sql.Rows) error { found = true; return nil })
	return found, err
}

// Forget implements sqlstore.Dialect.
func (d *listener) Forget(ctx context.Context, q sqlstore.Querier, key string) error {
	_, err := affected(ctx, q, newText(1024).add("DELETE FROM ", d.table).whereRow(key).add(" AND status = 'CONSUMED'"))
	return err
}

// Sweep implements sqlstore.Dialect. Claims are left for another lease, since
// their owners may still come.
func (d *listener) Sweep(ctx context.Context, q sqlstore.Querier, _ string, n int) (found, deleted int, next string, err error) {
	t := newText(256).add("DELETE FROM ", d.table, " WHERE expire_time < ", millisAfter(-d.grace), " ORDER BY expire_time LIMIT ").int(n)
	deleted, err = affected(ctx, q, t)
	return deleted, deleted, "", err
}

// Newest implements sqlstore.Dialect.
func (d *listener) Newest() int { return len(d.schema.Steps) }

// Version implements sqlstore.Dialect.
func (d *listener) Version(ctx context.Context, q sqlstore.Querier) (int, error) {
	return d.schema.Version(ctx, q, d.name)
}

// Migrate implements sqlstore.Dialect.
func (d *listener) Migrate(ctx context.Context, db *sql.DB) error {
	return migrate(ctx, db, &d.schema, d.name)
}

// Again implements sqlstore.Dialect.
func (d *listener) Again(err error) bool { return sqlretry.MySQL(err) }
