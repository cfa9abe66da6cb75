package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// A Querier runs statements: a *sql.DB, one of its connections, or a transaction.
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// States of a row, as they stand in the column state.
const (
	Claimed  = 0
	Marked   = 1
	TooLarge = 2 // marked; the result was too large to be kept
)

// An Item is one key of a call. The items of a call have different keys, in
// ascending order, so that calls lock rows in the same order.
type Item struct {
	At     int         // position in the call, of the first of equal keys
	Key    string      // as it stands in the key column
	Token  dedup.Token // of the claim
	State  int         // to write
	Result []byte      // to write

	Answer Answer
}

// An Answer is what the database said of a key.
type Answer struct {
	// Verdict of a claim; Unknown: the row changed in between, ask again.
	Verdict dedup.Verdict
	// Held: the claim was still held, and has been ended or extended.
	Held bool
	// Left is the rest of the lease or of the mark.
	Left time.Duration
	// State and Result of the mark of a duplicate.
	State  int
	Result []byte

	expires time.Time // by the caller's clock
}

// A Request is what a statement needs to know besides the items.
type Request struct {
	// Nonce is random and made for this attempt's call. Items whose claims it
	// makes have tokens that begin with it.
	Nonce  Nonce
	Lease  time.Duration
	Window time.Duration
	// Mark says that a claim marks its keys on sight.
	Mark bool
	// InTx says that the statements run in the caller's transaction, whose reads
	// may show an older state than its writes meet.
	InTx bool
}

// A Dialect is what differs between databases. Its methods set the answers of
// the items. They may be called by any number of goroutines at once.
type Dialect interface {
	// Key returns what stands for a key in Item.Key, or why no row can have it.
	Key(key []byte) (string, error)
	// MaxItems is the number of items that one call of a method takes at most.
	MaxItems() int
	// Claim takes the keys that are free or whose lease or mark has ended.
	Claim(ctx context.Context, q Querier, r Request, items []*Item) error
	// Commit marks the keys whose claims are held.
	Commit(ctx context.Context, q Querier, r Request, items []*Item) error
	// Release deletes the rows whose claims are held.
	Release(ctx context.Context, q Querier, r Request, items []*Item) error
	// Extend makes one lease end in r.Lease from now.
	Extend(ctx context.Context, q Querier, r Request, item *Item) error
	// Contains says whether a key is marked.
	Contains(ctx context.Context, q Querier, key string) (bool, error)
	// Forget deletes a mark.
	Forget(ctx context.Context, q Querier, key string) error
	// Sweep deletes up to n rows that may go, from the given one on, and returns
	// how many it found and where to go on. The zero cursor is the beginning.
	Sweep(ctx context.Context, q Querier, from string, n int) (found, deleted int, next string, err error)
	// Migrate makes or updates the tables.
	Migrate(ctx context.Context, db *sql.DB) error
	// Version is the version of the tables, 0 where there are none.
	Version(ctx context.Context, q Querier) (int, error)
	// Newest is the version that Migrate makes.
	Newest() int
	// Again says whether an error means that the statement changed nothing and
	// should be repeated.
	Again(err error) bool
}
