// Package orders is the application of the examples with a broker: a handler that
// writes an order to PostgreSQL and marks its message, both or neither. Its methods
// may be called by any number of goroutines at once.
package orders

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver

	"github.com/firstseen/firstseen/adapters/consume"
	pgstore "github.com/firstseen/firstseen/stores/postgres"
)

// An Inbox is a database of orders, and the memory of the messages that made them.
type Inbox struct {
	Store *pgstore.Store // the guard
	db    *sql.DB

	mu     sync.Mutex
	failed map[string]bool // orders whose handler has failed; guarded by mu
}

// Open makes the tables, which must not exist, in the database at url.
func Open(ctx context.Context, url string) (*Inbox, error) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return nil, err
	}
	store, err := pgstore.New(db, pgstore.Options{Window: 7 * 24 * time.Hour, Lease: time.Minute})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	in := &Inbox{Store: store, db: db, failed: map[string]bool{}}
	if err := store.Migrate(ctx); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	// No unique key: a second row for an order would show.
	if _, err := db.ExecContext(ctx, "CREATE TABLE orders (id bigserial PRIMARY KEY, name text NOT NULL)"); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

// Close closes the store and the database.
func (in *Inbox) Close() error { return errors.Join(in.Store.Close(), in.db.Close()) }

// Handle writes an order and marks its message in one transaction. Every tenth order
// fails at first, after its row is written.
func (in *Inbox) Handle(ctx context.Context, order string) error {
	tx, err := in.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (name) VALUES ($1)", order); err != nil {
		return err
	}
	if in.failsAtFirst(order) {
		return errors.New("not this time") // the row goes with the transaction, and the message comes again
	}
	work := consume.WorkFrom(ctx)
	if err := in.Store.CommitTx(ctx, tx, work.Claim()); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	work.SetCommitted()
	return nil
}

func (in *Inbox) failsAtFirst(order string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	first := strings.HasSuffix(order, "7") && !in.failed[order]
	if first {
		in.failed[order] = true
	}
	return first
}

// Messages returns the names of n orders, every fifth twice, as a publisher sends
// them whose first try seemed to fail.
func Messages(n int) []string {
	var all []string
	for i := range n {
		name := fmt.Sprintf("order-%d", i)
		all = append(all, name)
		if i%5 == 0 {
			all = append(all, name)
		}
	}
	return all
}

// Consume calls run until so many messages are acknowledged, then ends its context and
// waits for it.
func Consume(ctx context.Context, c *consume.Consumer, messages int, run func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }() // ends with ctx
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for counts(c).Acked < uint64(messages) {
		select {
		case <-look.C:
		case err := <-ended:
			return errors.Join(err, context.Cause(ctx))
		}
	}
	cancel()
	return <-ended
}

// counts are those of the one scope there is.
func counts(c *consume.Consumer) (n consume.Counts) {
	for _, n = range c.Snapshot() {
	}
	return n
}

// Report prints what became of the messages. It is an error if there is not exactly
// one row for each order.
func (in *Inbox) Report(ctx context.Context, w io.Writer, c *consume.Consumer, orders, messages int) error {
	var rows, different int
	if err := in.db.QueryRowContext(ctx, "SELECT count(*), count(DISTINCT name) FROM orders").Scan(&rows, &different); err != nil {
		return err
	}
	n := counts(c)
	fmt.Fprintf(w, "%d orders, %d messages: %d rows, %d duplicates dropped, %d handlers failed at first\n",
		orders, messages, rows, n.Duplicate, n.Failed)
	if rows != orders || different != orders {
		return fmt.Errorf("%d orders made %d rows for %d of them", orders, rows, different)
	}
	return nil
}
