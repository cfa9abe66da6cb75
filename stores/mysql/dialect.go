package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/firstseen/firstseen/internal/sqlretry"
	"github.com/firstseen/firstseen/stores/internal/sqlstore"
)

// maxItems keeps statements far below the 16 MB that servers take by default.
const maxItems = 2000

// A dialect is the store's own table.
type dialect struct {
	name   string
	table  string // quoted
	schema sqlstore.Schema
}

const createTable = "CREATE TABLE {table} (\n" +
	"	`key` VARBINARY(255) NOT NULL,\n" +
	"	token BINARY(16) NOT NULL,\n" +
	"	state TINYINT NOT NULL,\n" +
	"	valid_until DATETIME(6) NOT NULL,\n" +
	"	delete_after DATETIME(6) NOT NULL,\n" +
	"	result MEDIUMBLOB,\n" +
	"	PRIMARY KEY (`key`),\n" +
	"	KEY delete_after (delete_after)\n" +
	") ENGINE=InnoDB ROW_FORMAT=DYNAMIC"

func newDialect(table string) *dialect {
	return &dialect{name: table, table: quote(table), schema: schemaOf(table, [][]string{{createTable}})}
}

func schemaOf(table string, steps [][]string) sqlstore.Schema {
	fill := strings.NewReplacer("{table}", quote(table), "{versions}", quote(sqlstore.VersionTable(table))).Replace
	for _, step := range steps {
		for i := range step {
			step[i] = fill(step[i])
		}
	}
	return sqlstore.Schema{
		Steps: steps,
		Versions: fill(`CREATE TABLE IF NOT EXISTS {versions}
			(table_name VARBINARY(255) PRIMARY KEY, version INT NOT NULL) ENGINE=InnoDB`),
		Get:     fill(`SELECT version FROM {versions} WHERE table_name = ?`),
		Set:     fill(`REPLACE INTO {versions} (table_name, version) VALUES (?, ?)`),
		Missing: func(err error) bool { return sqlretry.ErrorNumber(err) == "1146" },
	}
}

// Key implements sqlstore.Dialect.
func (d *dialect) Key(key []byte) (string, error) { return sqlstore.EncodeKey(key), nil }

// MaxItems implements sqlstore.Dialect.
func (d *dialect) MaxItems() int { return maxItems }

// Newest implements sqlstore.Dialect.
func (d *dialect) Newest() int { return len(d.schema.Steps) }

// Version implements sqlstore.Dialect.
func (d *dialect) Version(ctx context.Context, q sqlstore.Querier) (int, error) {
	return d.schema.Version(ctx, q, d.name)
}

// Migrate implements sqlstore.Dialect.
func (d *dialect) Migrate(ctx context.Context, db *sql.DB) error {
	return migrate(ctx, db, &d.schema, d.name)
}

// migrate holds a lock of the server meanwhile: statements that change tables
// can't be part of a transaction.
func migrate(ctx context.Context, db *sql.DB, schema *sqlstore.Schema, table string) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	var got sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK('firstseen.migrate', 60)").Scan(&got); err != nil {
		return err
	}
	if got.Int64 != 1 {
		return errors.New("another process has been migrating for a minute")
	}
	defer func() {
		_, unlock := conn.ExecContext(context.WithoutCancel(ctx), "DO RELEASE_LOCK('firstseen.migrate')")
		err = errors.Join(err, unlock)
	}()
	return schema.Migrate(ctx, conn, table)
}

// Again implements sqlstore.Dialect.
func (d *dialect) Again(err error) bool { return sqlretry.MySQL(err) }

// affected runs a statement and returns how many rows it changed.
func affected(ctx context.Context, q sqlstore.Querier, t *text) (int, error) {
	res, err := q.ExecContext(ctx, t.String())
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

func errUnasked(key []byte) error {
	return fmt.Errorf("the database answered for %q, which was not asked", key)
}
