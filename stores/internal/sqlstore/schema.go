package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/firstseen/firstseen/dedup"
)

// A Schema is how a dialect's tables came to be. Steps that were released are
// never changed; new tables and columns get a new step.
type Schema struct {
	// Steps bring the tables from one version to the next: step 0 makes version 1.
	Steps [][]string
	// Versions makes the table of versions if there is none.
	Versions string
	// Get selects the version of a table, Set stores it. Set has the table's name
	// and its version as parameters, Get the name.
	Get, Set string
	// Missing says whether an error means that there is no table of versions.
	Missing func(error) bool
}

// VersionTable is the name of the table of versions beside a store's table.
func VersionTable(table string) string {
	if i := strings.IndexByte(table, '.'); i >= 0 {
		return table[:i+1] + "firstseen_schema"
	}
	return "firstseen_schema"
}

// Base is the name of a table without its schema.
func Base(table string) string { return table[strings.IndexByte(table, '.')+1:] }

// Version reads the version of table, 0 where there is none.
func (sc *Schema) Version(ctx context.Context, q Querier, table string) (int, error) {
	version := 0
	rows, err := q.QueryContext(ctx, sc.Get, Base(table))
	err = Collect(rows, err, func(rows *sql.Rows) error { return rows.Scan(&version) })
	if err != nil && sc.Missing(err) {
		return 0, nil
	}
	return version, err
}

// Migrate runs the missing steps. The caller holds a lock that others who
// migrate wait for.
func (sc *Schema) Migrate(ctx context.Context, q Querier, table string) error {
	if _, err := q.ExecContext(ctx, sc.Versions); err != nil {
		return err
	}
	version, err := sc.Version(ctx, q, table)
	if err != nil {
		return err
	}
	if version > len(sc.Steps) {
		return fmt.Errorf("%w: table %s has version %d, this program knows %d", dedup.ErrIncompatible, table, version, len(sc.Steps))
	}
	for ; version < len(sc.Steps); version++ {
		for _, statement := range sc.Steps[version] {
			if _, err := q.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("step %d: %w", version+1, err)
			}
		}
		if _, err := q.ExecContext(ctx, sc.Set, Base(table), version+1); err != nil {
			return err
		}
	}
	return nil
}

// Collect reads all rows.
func Collect(rows *sql.Rows, err error, each func(rows *sql.Rows) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
