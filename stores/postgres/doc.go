// Package pgstore is a memory of keys in a PostgreSQL table that any number of
// processes share: a [dedup.Guard].
//
//	db, err := sql.Open("pgx", url) // any PostgreSQL driver for database/sql
//	store, err := pgstore.New(db, pgstore.Options{Window: 7 * 24 * time.Hour})
//	err = store.Migrate(ctx) // once, by whoever may create tables
//	defer store.Close()
//
// # What it guarantees
//
// Of all claims of a key, by all processes, exactly one is Fresh until it is
// released or its lease ends. A mark is as durable as a commit of the database:
// with synchronous_commit off, a crash of the server may take the last marks
// back; with a synchronous standby (synchronous_standby_names), a failover to it
// loses none. All times are the database server's, so the clients' clocks don't
// matter. After a failover they are the new server's: keep the servers' clocks
// together.
//
// Keys are compared byte by byte. A key of up to 255 bytes stands in the table as
// it is; a longer one stands there as its SHA-256 digest.
//
// A mark is kept for Window, counted from its commit. A row is deleted up to a
// Lease later, when the sweeper comes by.
//
// # How it works
//
// Every call is one statement, whatever the number of keys, up to 10,000. It runs
// by itself, in whatever isolation level the database has by default; deadlocks
// and serialization failures are repeated. A lost connection is not: its call
// fails, and nothing is known of its keys. If they were claimed, they are fresh
// again when the lease ends.
//
// One goroutine for each store sweeps expired rows, a few hundred at a time; a
// claim in the table sees to it that only one process does so. Store.Close ends
// it.
//
// # Inbox
//
// Where the handler's effect is a write to the same database, AdmitTx or CommitTx
// put the mark into the handler's own transaction: effect and mark happen
// together or not at all, which makes it exactly once. A call for a key that an
// open transaction has marked waits for that transaction's end.
//
// # Who may call at once
//
// Any number of goroutines, but for the restrictions of a *sql.Tx. The store
// neither opens nor closes the *sql.DB. A store uses one connection at a time for
// each call.
//
// # What it does not do
//
// It doesn't create its tables unasked, doesn't work with a server that was not
// told to be durable, and doesn't decide what to do while the database is down:
// calls fail then.
package pgstore
